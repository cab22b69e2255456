"""RMSNorm under frozen weights, in half the passes over the activations, forward and backward.

Zhang and Sennrich, Root Mean Square Layer Normalization, 2019: y = w x / rms(x).
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor

from eshop_ray.training.model import LLAMA_LIKE, find_layers, get_causal_lm

NORMS = ("input_layernorm", "post_attention_layernorm")


def freeze_norms(model: Any, dtype: torch.dtype) -> None:
    """Let each layer's norms hand out `dtype`, which the products behind them compute in, cast once for all of them."""
    causal_lm = get_causal_lm(model)
    if causal_lm.config.model_type not in LLAMA_LIKE:
        return
    for layer in find_layers(model):
        for name in NORMS:
            norm = getattr(layer, name)
            if not norm.weight.requires_grad:
                norm.output_dtype = dtype
                norm.forward = MethodType(_forward, norm)


def _forward(norm: Any, states: Tensor) -> Tensor:
    output: Tensor = _Norm.apply(states, norm.weight, norm.variance_epsilon, norm.output_dtype)
    return output


class _Norm(torch.autograd.Function):  # type: ignore[misc]
    """(..., D) -> (..., D) in another dtype; statistics in fp32."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        wide = states.float()
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(states.shape[-1])
        scale = mean_square.add_(epsilon).rsqrt_()
        ctx.save_for_backward(states, weight, scale)
        return torch.mul(wide * scale, weight, out=torch.empty(states.shape, dtype=dtype, device=states.device))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        states, weight, scale = ctx.saved_tensors
        wide, weighted = states.float(), gradients[0] * weight.float()
        along = (weighted * wide).sum(-1, keepdim=True).mul_(scale**3 / states.shape[-1])
        return weighted.mul_(scale).addcmul_(wide, along, value=-1).to(states.dtype), None, None, None
