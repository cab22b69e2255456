"""What is measured, in which order: peers alternate, every figure comes from a fresh process."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from eshop_ray.cluster import MIN_LOCAL_CPUS, cpu_engine_environment
from eshop_ray.config import Config
from eshop_ray.inference.vllm import engine_kwargs
from tests.bench.infer.results import summarize
from tests.bench.infer.rows import build_catalog, build_unique, write_rows
from tests.bench.process import measure

logger = logging.getLogger(__name__)

WORKLOADS = {"unique": build_unique, "catalog": build_catalog}
PEERS = {"ours": "infer.ours", "raw": "infer.raw", "ray_data_llm": "infer.ray_llm", "run_batch": "infer.vllm_batch"}
NOT_WHEN_UP = ("ray_data_llm", "run_batch")
"""Peers that do not tell when their engine is up: what they need for a single row is taken off their time."""


@dataclass(frozen=True)
class Bench:
    """One call of the benchmark."""

    config: Config
    model_dir: Path
    workdir: Path
    num_rows: int
    repeats: int

    def job(self, name: str, num_rows: int | None = None) -> dict:
        """Write the rows of a measurement and return its description."""
        config, infer = self.config, self.config.infer
        rows = WORKLOADS[name](config.data.root, self.num_rows, config.seed)
        path = self.workdir / f"{name}_{num_rows}.jsonl"
        write_rows(path, rows[:num_rows])
        environment = {} if infer.use_gpu else cpu_engine_environment(infer.cpu_kvcache_gib, infer.cpu_threads)
        return {
            "rows_path": str(path),
            "model_dir": str(self.model_dir),
            "num_rows": len(rows[:num_rows]),
            "engine": engine_kwargs(infer),
            "infer": infer.model_dump(mode="json"),
            "batch_size": infer.batch_size,
            "num_cpus": max(MIN_LOCAL_CPUS, os.cpu_count() or 1),
            "threads": os.cpu_count() or 1,
            "environment": environment,
        }


def run_part(bench: Bench, name: str, peers: list[str]) -> dict:
    """Return the figures of all peers on one kind of rows."""
    job, single = bench.job(name), bench.job(name, 1)
    overhead = {peer: measure(PEERS[peer], single)["seconds"] for peer in peers if peer in NOT_WHEN_UP}
    runs: dict[str, list[dict]] = {peer: [] for peer in peers}
    for _ in range(bench.repeats):
        for peer in peers:
            result = measure(PEERS[peer], job)
            result["rows_per_second"] = len(result["answers"]) / (result["seconds"] - overhead.get(peer, 0.0))
            logger.info("%-14s %8.2f rows/s", peer, result["rows_per_second"])
            runs[peer].append(result)
    return {**summarize(runs), "num_rows": job["num_rows"], "engine": job["engine"], "infer": job["infer"]}
