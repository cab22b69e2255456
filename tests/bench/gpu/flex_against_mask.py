"""Flex attention, with prefixes whole and repeated, against the mask over the whole pack: outputs and gradients."""

import torch

from eshop_ray.training.kernels.flex import FlexLayout
from eshop_ray.training.kernels.layouts import build_layout
from tests.bench.gpu.outcome import check_at_most
from tests.bench.gpu.packs import draw_pack

GROUPS = {
    "cuda": [(154, 60, 16, 36), (700, 20, 60, 36), (0, 1, 300, 90), (40, 40, 8, 8)],
    "cpu": [(20, 12, 6, 8), (150, 3, 20, 8), (0, 1, 30, 20), (9, 5, 3, 3)],
}
"""See `draw_rows`."""
SPAN = {"cuda": 1024, "cpu": 128}
HEADS = {"cuda": (12, 2, 128), "cpu": (4, 2, 16)}
"""Of queries, of keys and values, and their size: on a GPU those of Qwen2.5-1.5B."""
PRECISIONS = {"bf16": (torch.bfloat16, 2e-2), "fp32": (torch.float32, 1e-5)}
"""With the largest difference that rounding explains, relative to the largest value."""


def measure(job):
    device = torch.device(job["device"])
    pack = draw_pack(GROUPS[device.type], 1000)
    yield "tokens", len(pack)
    layouts = {
        "flex_whole": FlexLayout.build(pack, device),
        "flex": FlexLayout.build(pack, device, SPAN[device.type]),
    }
    yield "copies", sum(one.number for one in layouts["flex"].copies)
    states = draw_states(len(pack), *HEADS[device.type], device)
    exact = build_layout(pack, "mask", device)
    for precision, (dtype, limit) in PRECISIONS.items():
        rounded = [tensor.to(dtype) for tensor in states]
        expected = compute(exact, [tensor.float() for tensor in rounded])
        worst = {}
        for name, layout in {"mask": exact, **layouts}.items():
            outputs, *gradients = compare(compute(layout, rounded), expected)
            yield f"{name}_{precision}_outputs", outputs
            yield f"{name}_{precision}_gradients", max(gradients)
            worst[name] = max(outputs, *gradients)
        for name in layouts:  # that of the mask is what rounding alone does
            check_at_most(f"{name} in {precision}: the largest relative difference", worst[name], limit)


def draw_states(num_tokens, num_heads, num_kv_heads, head_dim, device):
    """Return queries, keys, values, and the gradient of the outputs, (H, T, D) each."""
    torch.manual_seed(0)
    heads = (num_heads, num_kv_heads, num_kv_heads, num_heads)
    return [torch.randn(number, num_tokens, head_dim, device=device) for number in heads]


def compute(layout, states):
    """Return the outputs and the gradients of queries, keys and values."""
    *inputs, gradient = (tensor.clone().requires_grad_() for tensor in states)
    output = layout.attend(*inputs, scale=None, dropout=0.0)
    return [output.detach(), *torch.autograd.grad(output, inputs, gradient.detach())]


def compare(found, expected):
    """Return the largest difference of each pair of tensors, relative to the largest value."""
    return [
        float((ours.float() - theirs).abs().max() / theirs.abs().max())
        for ours, theirs in zip(found, expected, strict=True)
    ]
