"""What is measured, in which order: sides alternate, every figure comes from a fresh process."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from eshop_ray.cluster import MIN_LOCAL_CPUS, cpu_engine_environment, cpu_environment
from eshop_ray.config import Config
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.inference.engines.vllm import engine_kwargs
from eshop_ray.inference.engines.vllm_actor import COMPILED_DIR
from eshop_ray.inference.quantization.write import Quantization, write_quantized
from tests.bench.busy import compute_shares, measure_sides
from tests.bench.infer.limit import compute_limit
from tests.bench.infer.results import summarize
from tests.bench.infer.rows import build_catalog, build_unique, write_rows
from tests.bench.process import measure

logger = logging.getLogger(__name__)

WORKLOADS = {"unique": build_unique, "catalog": build_catalog}
BUSY = "busy"
PARTS = (*WORKLOADS, BUSY)
NUM_BUSY_ROWS = 96
"""Three quarters of what an engine decodes together: all end at about one time, so that none is half done and does not
count when the measurement is given up."""


@dataclass(frozen=True)
class Side:
    """Who answers, and how its engine is set up."""

    module: str
    has_own_settings: bool = False
    """vLLM's own arguments, but for what decides the answers; otherwise those of this project."""
    is_compiled: bool = True
    is_quantized: bool = False
    tells_when_up: bool = True
    """Otherwise what it needs for a single row is taken off its time."""


SIDES = {
    "ours": Side("infer.ours"),
    "raw": Side("infer.raw"),
    "raw_default": Side("infer.raw", has_own_settings=True),
    "ray_data_llm": Side("infer.ray_llm", has_own_settings=True, tells_when_up=False),
    "run_batch": Side("infer.vllm_batch", has_own_settings=True, tells_when_up=False),
    "eager": Side("infer.ours", is_compiled=False),
    "int8_eager": Side("infer.ours", is_compiled=False, is_quantized=True),
    "int8": Side("infer.ours", is_quantized=True),
}
DECIDES_ANSWERS = ("max_model_len", "enable_prefix_caching", "structured_outputs_config", "dtype")
"""Arguments that all sides share."""


@dataclass(frozen=True)
class Bench:
    """One call of the benchmark."""

    config: Config
    model_dir: Path
    workdir: Path
    num_rows: int
    repeats: int

    def job(self, name: str, side: Side, num_rows: int | None = None) -> dict:
        """Write the rows of a measurement and return its description."""
        infer = self.config.infer.model_copy(update={"compile": side.is_compiled})
        rows = WORKLOADS[name](self.config.data.root, self.num_rows, self.config.seed)[:num_rows]
        path = self.workdir / f"{name}_{num_rows}.jsonl"
        write_rows(path, rows)
        engine = engine_kwargs(infer)
        if side.has_own_settings:
            engine = {key: engine[key] for key in DECIDES_ANSWERS if key in engine}
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(COMPILED_DIR.expanduser())}
        if not infer.use_gpu:
            environment |= cpu_engine_environment(infer.cpu_kvcache_gib, infer.cpu_threads)
            if side.module == "infer.raw" and not side.has_own_settings:
                environment |= cpu_environment()  # as our engine's process has it; in Ray's driver all of Ray would
        return {
            "rows_path": str(path),
            "model_dir": str(self.quantized_dir() if side.is_quantized else self.model_dir),
            "num_rows": len(rows),
            "engine": engine,
            "infer": infer.model_dump(mode="json"),
            "batch_size": infer.batch_size,
            "num_cpus": max(MIN_LOCAL_CPUS, os.cpu_count() or 1),
            "threads": os.cpu_count() or 1,
            "environment": environment,
        }

    def quantized_dir(self) -> Path:
        """Return the folder of the model in int8, made when it is first asked for."""
        folder = self.workdir / "quantized"
        if not folder.exists():
            write_quantized(Quantization(self.model_dir, QuantizeSection(model="base")), folder)
        return folder


def run_part(bench: Bench, name: str, sides: list[str]) -> dict:
    """Return the figures of a part."""
    return run_busy(bench) if name == BUSY else run_comparison(bench, name, sides)


def run_comparison(bench: Bench, name: str, sides: list[str]) -> dict:
    """Return the figures of all sides on one kind of rows.

    Each first answers a single row: what is compiled is then in the cache, and what a side spends before its first
    answer is known.
    """
    jobs = {side: bench.job(name, SIDES[side]) for side in sides}
    starts = {side: measure(SIDES[side].module, bench.job(name, SIDES[side], 1))["seconds"] for side in sides}
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(bench.repeats):
        for side, job in jobs.items():
            result = measure(SIDES[side].module, job)
            start = 0.0 if SIDES[side].tells_when_up else starts[side]
            result["rows_per_second"] = len(result["answers"]) / (result["seconds"] - start)
            logger.info("%-14s %8.2f rows/s", side, result["rows_per_second"])
            runs[side].append(result)
    figures = summarize(runs)
    for side, job in jobs.items():
        figures["sides"][side]["engine"] = job["engine"]
    part = {**figures, "num_rows": jobs[sides[0]]["num_rows"], "infer": bench.config.infer.model_dump(mode="json")}
    if "raw" in sides:
        part["limit"] = compute_limit(part, bench.model_dir, measure_peaks(bench.config))
    return part


def run_busy(bench: Bench) -> dict:
    """Return what is left of our engine's speed where others use the cores; nothing is cached from one time to the
    next, so that all times are of the same work.
    """
    infer = bench.config.infer
    uncached = {**infer.engine_kwargs, "enable_prefix_caching": False}
    infer = infer.model_copy(update={"compile": False, "engine_kwargs": uncached})
    job = replace(bench, num_rows=NUM_BUSY_ROWS).job("unique", SIDES["eager"])
    job |= {"infer": infer.model_dump(mode="json"), "environment": {}}
    runs = measure_sides("infer.busy", job, bench.repeats)
    return {"busy": compute_shares(runs), "runs": runs, "num_rows": job["num_rows"], "infer": job["infer"]}


def measure_peaks(config: Config) -> dict[str, float]:
    """Return GFLOP/s of bf16 products and GB/s of memory of this machine."""
    job = {"threads": os.cpu_count() or 1, "train": {"use_gpu": config.infer.use_gpu}}
    gflops = measure("train.matrix_peak", job)["gflops"]
    return {"gflops": gflops, "gbytes": measure("infer.memory_peak", job)["gbytes"]}
