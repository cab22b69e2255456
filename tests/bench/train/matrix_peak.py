"""The machine's matrix peak: what share of it training reaches is its model FLOPs utilisation."""

import time
from statistics import median

import torch

SHAPES = ((2048, 2048, 2048), (1024, 576, 1536), (1024, 1536, 576), (1024, 576, 576), (2048, 576, 1536))
"""A large square, and the model's own projections of a pack's tokens."""
SHAPES_ON_GPU = ((8192, 8192, 8192), (16384, 8192, 4096))
SECONDS_PER_SAMPLE = 0.2
NUM_SAMPLES = 5


def run(job):
    """Return GFLOP/s of bf16 products by shape, and the best of them."""
    torch.set_num_threads(job["threads"])
    on_gpu = job["train"]["use_gpu"]
    device, shapes = ("cuda", SHAPES_ON_GPU) if on_gpu else ("cpu", SHAPES)
    with torch.no_grad():
        rates = {"x".join(map(str, shape)): measure_shape(*shape, device) for shape in shapes}
    return {"gflops": max(rates.values()), "by_shape": rates}


def measure_shape(m, k, n, device):
    """Return GFLOP/s of one shape: the median of several samples, each long enough for the clock."""
    left, right = (torch.randn(shape, device=device).bfloat16() for shape in ((m, k), (k, n)))
    out = torch.empty(m, n, dtype=torch.bfloat16, device=device)
    seconds = min(_time(left, right, out, 1) for _ in range(3))
    repeats = max(1, round(SECONDS_PER_SAMPLE / seconds))
    return 2 * m * k * n / 1e9 / median(_time(left, right, out, repeats) / repeats for _ in range(NUM_SAMPLES))


def _time(left, right, out, repeats):
    started = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=out)
    if out.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
