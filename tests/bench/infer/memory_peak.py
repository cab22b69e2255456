"""The machine's memory peak: bytes per second that all its cores read together."""

import time
from statistics import median

import torch

NUM_BYTES = 1 << 30
NUM_SAMPLES = 7


def run(job):
    """Return GB/s of reading an array far larger than the caches."""
    torch.set_num_threads(job["threads"])
    values = torch.ones(NUM_BYTES // 4)
    values.sum()
    return {"gbytes": median(_read(values) for _ in range(NUM_SAMPLES))}


def _read(values):
    started = time.perf_counter()
    values.sum()
    return NUM_BYTES / 1e9 / (time.perf_counter() - started)
