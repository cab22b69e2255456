"""RMSNorm under frozen weights, in half the passes over the activations, forward and backward.

Zhang and Sennrich, Root Mean Square Layer Normalization, 2019: y = w x / rms(x).
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor


def can_freeze(module: torch.nn.Module) -> bool:
    """Whether a module may be such a norm, by what it is made of: one frozen vector, and one small number beside it."""
    weights = dict(module.named_parameters())
    return (
        list(weights) == ["weight"]
        and weights["weight"].dim() == 1
        and not weights["weight"].requires_grad
        and not list(module.buffers())
        and _find_epsilon(module) is not None
    )


def freeze_norm(module: Any, dtype: torch.dtype) -> None:
    """Let a norm hand out `dtype`, which the products behind it compute in, cast once for all of them."""
    module.frozen_epsilon, module.output_dtype = _find_epsilon(module), dtype
    module.forward = MethodType(_forward, module)


def _find_epsilon(module: torch.nn.Module) -> float | None:
    """Return what is added to the mean square, by whatever name."""
    numbers = [value for value in vars(module).values() if type(value) is float]
    return numbers[0] if numbers else None


def _forward(norm: Any, states: Tensor) -> Tensor:
    output: Tensor = _Norm.apply(states, norm.weight, norm.frozen_epsilon, norm.output_dtype)
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
