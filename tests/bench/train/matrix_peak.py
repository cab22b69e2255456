"""The machine's matrix peak: what share of it training reaches is its model FLOPs utilisation."""

import time
from statistics import median

import torch

SHAPES = ((2048, 2048, 2048), (1024, 576, 1536), (1024, 1536, 576), (1024, 576, 576), (2048, 576, 1536))
"""A large square, and the model's own projections of a pack's tokens."""
SECONDS_PER_SAMPLE = 0.2
NUM_SAMPLES = 5


def run(job):
    """Return GFLOP/s of bf16 products by shape, and the best of them."""
    torch.set_num_threads(job["threads"])
    with torch.no_grad():
        rates = {"x".join(map(str, shape)): measure_shape(*shape) for shape in SHAPES}
    return {"gflops": max(rates.values()), "by_shape": rates}


def measure_shape(m, k, n):
    """Return GFLOP/s of one shape: the median of several samples, each long enough for the clock."""
    left, right = torch.randn(m, k).bfloat16(), torch.randn(k, n).bfloat16()
    out = torch.empty(m, n, dtype=torch.bfloat16)
    seconds = min(_time(left, right, out, 1) for _ in range(3))
    repeats = max(1, round(SECONDS_PER_SAMPLE / seconds))
    return 2 * m * k * n / 1e9 / median(_time(left, right, out, repeats) / repeats for _ in range(NUM_SAMPLES))


def _time(left, right, out, repeats):
    started = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=out)
    return time.perf_counter() - started
