"""Our engine, first alone, then beside busy processes: the same rows both times, asked of one vLLM actor."""

import asyncio
import time
from pathlib import Path

import ray

from eshop_ray.cluster import start_ray
from eshop_ray.config import InferSection, RaySection
from eshop_ray.inference.engines.vllm import build_actor, write_ids
from eshop_ray.inference.requests import Answer, Request
from eshop_ray.schema import decode
from tests.bench.busy import load_cores
from tests.bench.infer.rows import read_rows

NUM_WARM_UP = 8
MAX_SECONDS = 120.0
"""Twice what our side takes beside others."""


def run(job):
    """Return rows per second, `quiet` and `busy`, of an engine that is up and warm."""
    config, model_dir = InferSection(**job["infer"]), Path(job["model_dir"])
    requests = [
        Request(write_ids(model_dir, row["messages"]), decode(row["sampling_params"]))
        for row in read_rows(job["rows_path"])
    ]
    start_ray(RaySection(), num_cpus=config.num_cpus)
    try:
        return asyncio.run(measure_states(build_actor(config, model_dir), requests))
    finally:
        ray.shutdown()


async def measure_states(engine, requests):
    """Start the engine, warm it with some rows, and measure."""
    await engine.start()
    await engine.ask(requests[:NUM_WARM_UP])
    quiet = await measure_speed(engine, requests)
    with load_cores():
        busy = await measure_speed(engine, requests)
    await engine.stop()
    return {"quiet": quiet, "busy": busy}


async def measure_speed(engine, requests):
    """Return rows per second of all rows asked at once, or of those that are answered in time, which may be none."""
    started = time.perf_counter()
    calls = [asyncio.create_task(engine.ask([request])) for request in requests]
    done, late = await asyncio.wait(calls, timeout=MAX_SECONDS)
    seconds = time.perf_counter() - started
    for call in late:
        call.cancel()
    replies = [reply for call in done for reply in call.result()]
    if not all(isinstance(reply, Answer) for reply in replies):
        raise SystemExit("the engine refused rows of the benchmark")
    return len(replies) / seconds
