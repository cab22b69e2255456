"""The time of flex attention's backward pass with shared prefixes whole, and repeated once for so many queries."""

import time
from statistics import median

import torch

from eshop_ray.training.kernels.flex import FlexLayout
from tests.bench.gpu.flex_against_mask import draw_states
from tests.bench.gpu.packs import draw_pack

GROUPS = {"cuda": [(154, 700, 12, 36)], "cpu": [(40, 20, 6, 8)]}
"""See `draw_rows`: on a GPU QueryNER's published instruction, some 30,000 tokens in all."""
SPANS = {"cuda": (4096, 2048, 1024, 512), "cpu": (128,)}
HEADS = {
    "cuda": {"qwen2.5-1.5b": (12, 2, 128), "smollm2-135m": (9, 3, 64)},
    "cpu": {"small": (4, 2, 16)},
}
"""Of queries, of keys and values, and their size."""
NUM_WARMUPS, NUM_REPEATS = {"cuda": 3, "cpu": 1}, {"cuda": 15, "cpu": 1}


def measure(job):
    device = torch.device(job["device"])
    pack = draw_pack(GROUPS[device.type], 1000)
    yield "tokens", len(pack)
    layouts = {"whole": FlexLayout.build(pack, device)}
    layouts |= {f"span_{span}": FlexLayout.build(pack, device, span) for span in SPANS[device.type]}
    for name, layout in layouts.items():
        yield f"most_query_blocks_per_key_block_{name}", count_most(layout)
    for model, heads in HEADS[device.type].items():
        states = [tensor.bfloat16() for tensor in draw_states(len(pack), *heads, device)]
        backward = {}
        for name, layout in layouts.items():
            forward, backward[name] = time_passes(layout, states)
            yield f"{model}_forward_ms_{name}", forward * 1000
            yield f"{model}_backward_ms_{name}", backward[name] * 1000
        best = min(backward, key=backward.get)
        yield f"{model}_best", best
        yield f"{model}_backward_speedup", backward["whole"] / backward[best]


def count_most(layout):
    """Return how many blocks of queries the program goes through that has most of them."""
    mask = layout.block_mask
    return int((mask.q_num_blocks + mask.full_q_num_blocks).max())


def time_passes(layout, states):
    """Return the median seconds of the forward and of the backward pass."""
    *inputs, gradient = (tensor.clone().requires_grad_() for tensor in states)
    times = []
    for _ in range(NUM_WARMUPS[gradient.device.type] + NUM_REPEATS[gradient.device.type]):
        started = tell_time(gradient.device)
        output = layout.attend(*inputs, scale=None, dropout=0.0)
        computed = tell_time(gradient.device)
        torch.autograd.grad(output, inputs, gradient.detach())
        times.append((computed - started, tell_time(gradient.device) - computed))
    forward, backward = zip(*times[NUM_WARMUPS[gradient.device.type] :], strict=True)
    return median(forward), median(backward)


def tell_time(device):
    """Return the time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
