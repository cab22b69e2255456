"""What is measured, in which order: peers alternate, every figure comes from a fresh process."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eshop_ray.config import Config
from tests.bench.busy import compute_shares, measure_sides
from tests.bench.process import measure
from tests.bench.train.flops import count_pack, read_shape
from tests.bench.train.results import check_same_work, compare, compute_overhead, find_median
from tests.bench.train.rows import build_plain, build_shared_prefix, count_tokens, write_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workload:
    """Rows to train on, and how TRL is tried out on them."""

    build: Any
    num_rows: int
    batch_size: int
    micro_batches: tuple[int, ...]
    max_lengths: tuple[int, ...]
    """Of TRL's packs; no row is longer than the smallest."""
    tuning_batch: int
    """Rows per step while TRL's settings are tried out."""


WORKLOADS = {
    "shared_prefix": Workload(build_shared_prefix, 64, 32, (4, 8, 16), (512, 1024), tuning_batch=16),
    "plain": Workload(build_plain, 24, 8, (1, 4), (1024, 2048), tuning_batch=4),
}
WORKLOADS_ON_GPU = {
    "shared_prefix": Workload(build_shared_prefix, 4096, 512, (32, 128, 512), (8192, 32768), tuning_batch=512),
    "plain": Workload(build_plain, 1024, 128, (8, 32, 128), (8192, 32768), tuning_batch=128),
}
NUM_STEPS_ON_RAY = 4
NUM_PROFILED = 2
NUM_BUSY_STEPS = 16
BUSY_BATCH_SIZE = 8
"""Rows per step beside busy processes: steps that are short even there."""
PROFILE = "profile_"
PARTS = ("shared_prefix", "plain", "mfu", f"{PROFILE}shared_prefix", f"{PROFILE}plain", "two_workers", "busy")


@dataclass(frozen=True)
class Bench:
    """One call of the benchmark."""

    config: Config
    model_dir: Path
    workdir: Path
    threads: int
    repeats: int
    workloads: dict[str, Workload]
    tuned: dict[str, dict[str, dict]]
    """TRL's best settings by workload and peer, where an earlier run may stand for trying them out."""

    def job(self, workload: Workload, name: str, num_rows: int, **settings: Any) -> dict:
        """Write the rows of a measurement and return its description."""
        rows = workload.build(self.config.data.root, self.model_dir, num_rows, self.config.seed)
        path = self.workdir / f"{name}_{num_rows}.json"
        write_rows(path, rows)
        train = self.config.train.model_dump() | {"global_batch_size": workload.batch_size}
        return {
            "rows_path": str(path),
            "model_dir": str(self.model_dir),
            "train": train,
            "lora": self.config.lora.model_dump(),
            "seed": self.config.seed,
            "threads": self.threads,
            "keep_memory": True,
            "workload": count_tokens(rows),
            **settings,
        }


def run_part(bench: Bench, name: str) -> dict:
    """Return the raw figures of a part, and what is computed from them."""
    if name in bench.workloads:
        return run_comparison(bench, name)
    if name.startswith(PROFILE):
        return run_profile(bench, name.removeprefix(PROFILE))
    return {"mfu": run_mfu, "two_workers": run_two_workers, "busy": run_busy}[name](bench)


def run_comparison(bench: Bench, name: str) -> dict:
    """Measure our step against TRL's trainer, padded and packed, each at the best settings found for it."""
    workload = bench.workloads[name]
    tuned = bench.tuned.get(name) or tune(bench, name, workload)
    job = bench.job(workload, name, workload.num_rows)
    peers = {"ours": ("ours", {}), **{peer: ("trl_sft", settings["best"]) for peer, settings in tuned.items()}}
    runs: dict[str, list[dict]] = {peer: [] for peer in peers}
    for _ in range(bench.repeats):
        for peer, (kind, settings) in peers.items():
            runs[peer].append(_measure(peer, kind, {**job, **settings}))
    check_same_work(runs)
    return {"vs_trl": compare(runs), "runs": runs, "tuned": tuned, **_describe(job)}


def tune(bench: Bench, name: str, workload: Workload) -> dict:
    """Try TRL's settings, one after the other, on two small steps; each later choice keeps the best so far."""
    trial = replace(workload, batch_size=min(workload.tuning_batch, workload.batch_size))
    job = bench.job(trial, name, 2 * trial.batch_size)
    start = {"micro_batch": 1, "weights": "fp32", "keep_memory": True, "max_length": None, "is_packed": False}
    sizes = [{"micro_batch": size} for size in workload.micro_batches if size <= trial.batch_size] or [{}]
    padded = _choose(job, "trl_padded", start, [sizes, [{"weights": "bf16"}], [{"keep_memory": False}]])
    kept = {**padded["best"], "is_packed": True, "micro_batch": 1}
    lengths = [{"max_length": length} for length in workload.max_lengths]
    return {"trl_padded": padded, "trl_packed": _choose(job, "trl_packed", kept, [lengths])}


def run_mfu(bench: Bench) -> dict:
    """Measure our step and, right beside it, the machine's matrix peak: what share of it the needed work reaches."""
    workload = bench.workloads["shared_prefix"]
    job = bench.job(workload, "shared_prefix", workload.num_rows)
    shape, rank = read_shape(bench.model_dir), bench.config.lora.r
    runs: dict[str, list[dict]] = {"matrix_peak": [], "ours": []}
    for _ in range(bench.repeats):
        runs["matrix_peak"].append(_measure("matrix_peak", "matrix_peak", job))
        ours = _measure("ours", "ours", job)
        work = sum(count_pack(shape, rank, pack["groups"], pack["answers"]) for pack in ours["packs"])
        runs["ours"].append({**ours, "gflops": work / ours["seconds"] / 1e9})
    mfu = find_median(runs["ours"], "gflops") / find_median(runs["matrix_peak"], "gflops")
    return {"mfu": mfu, "runs": runs, **_describe(job)}


def run_profile(bench: Bench, name: str) -> dict:
    """Measure where the time of our step goes."""
    workload = bench.workloads[name]
    job = bench.job(workload, name, workload.num_rows, num_profiled=NUM_PROFILED)
    return {**measure("train.time_shares", job), **_describe(job)}


def run_two_workers(bench: Bench) -> dict:
    """Measure the real job with one worker on all cores against two workers that share them."""
    workload = bench.workloads["shared_prefix"]
    num_rows = max(workload.num_rows, NUM_STEPS_ON_RAY * workload.batch_size)
    job = bench.job(workload, "shared_prefix", num_rows, config=bench.config.model_dump(mode="json"))
    runs: dict[str, list[dict]] = {"one_worker": [], "two_workers": []}
    for _ in range(bench.repeats):
        for num_workers, name in enumerate(runs, start=1):
            runs[name].append(_measure(name, "ours_ray", {**job, "num_workers": num_workers}))
    return {"overhead": compute_overhead(runs), "runs": runs, **_describe(job)}


def run_busy(bench: Bench) -> dict:
    """Measure the real job where others use the cores; both states take every row as often.

    Ours has a worker for each core: threads of one worker wait for each other after every product, workers once a step.
    """
    workload = replace(bench.workloads["shared_prefix"], batch_size=BUSY_BATCH_SIZE)
    num_rows = NUM_BUSY_STEPS * BUSY_BATCH_SIZE // 2
    settings = {"num_steps": NUM_BUSY_STEPS, "config": bench.config.model_dump(mode="json")}
    job = bench.job(workload, "busy", num_rows, **settings) | {"keep_memory": False, "num_workers": 1}
    runs = measure_sides("train.busy", job, bench.repeats, {"num_workers": bench.threads})
    return {"busy": compute_shares(runs), "runs": runs, **_describe(job)}


def _choose(job, peer, settings, choices):
    tried, best = [], None
    for options in choices:
        candidates = [{**(best[1] if best else settings), **option} for option in options]
        for candidate in candidates:
            logger.info("trying %s: %s", peer, candidate)
            result = _measure(peer, "trl_sft", {**job, **candidate})
            rate = result["rows_per_second"]
            tried.append({**candidate, "rows_per_second": rate, "peak_mib": result["peak_mib"]})
            best = max(best or (0.0, {}), (rate, candidate), key=lambda item: item[0])
    return {"best": best[1], "tried": tried}


def _measure(label, kind, job):
    result = measure(f"train.{kind}", job)
    rate = result.get("rows_per_second") or result["gflops"]
    logger.info("%-14s %9.3f %s", label, rate, "rows/s" if "rows_per_second" in result else "GFLOP/s")
    return result


def _describe(job):
    return {"workload": job["workload"], "train": job["train"], "lora": job["lora"], "seed": job["seed"]}
