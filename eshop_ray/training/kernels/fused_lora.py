"""A layer with its update as one operation: what PEFT computes, in half the passes over the activations.

The update is added into the layer's output as it is computed, forward and backward, and the scale is applied to the
narrow side. An update of rank 16 costs little arithmetic; reading and writing wide activations for it is what counts.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn.functional import linear

ADAPTER = "default"


def can_fuse(module: Any) -> bool:
    """Whether a layer is PEFT's and adds a product of two matrices and nothing else: no DoRA, no dropout, no biases of
    the update, no bias of the base that is trained.
    """
    return (
        type(module) is Linear
        and type(module.base_layer) is torch.nn.Linear
        and not any(weight.requires_grad for weight in module.base_layer.parameters())
        and list(module.lora_A) == [ADAPTER]
        and not module.lora_variant
        and not module.fan_in_fan_out
        and isinstance(module.lora_dropout[ADAPTER], torch.nn.Identity)
        and module.lora_A[ADAPTER].bias is None
        and module.lora_B[ADAPTER].bias is None
    )


def fuse_update(module: Any) -> None:
    """Let a layer compute base and update together."""
    module.forward = MethodType(_forward, module)


def _forward(module: Any, states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if module.disable_adapters or module.merged or args or kwargs:
        result: Tensor = Linear.forward(module, states, *args, **kwargs)
        return result
    base, down, up = module.base_layer, module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
    output: Tensor = _UpdatedLinear.apply(states, base.weight, base.bias, down, up, module.scaling[ADAPTER])
    return output


class _UpdatedLinear(torch.autograd.Function):  # type: ignore[misc]
    """(..., in) -> (..., out): `x W' + b + scale (x A') B'` with W and b frozen, A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Compute in the dtype of the frozen weight."""
        inputs = states.to(weight.dtype).flatten(0, -2)
        low_down, low_up = down.to(weight.dtype), up.to(weight.dtype)
        narrow = inputs @ low_down.T
        output = linear(inputs, weight, None if bias is None else bias.to(weight.dtype))
        output.addmm_(narrow, low_up.T, alpha=scale)
        # What comes in is kept for the gradient of A alone.
        ctx.save_for_backward(inputs if ctx.needs_input_grad[3] else None, weight, narrow, low_down, low_up)
        ctx.scale, ctx.dtypes = scale, (states.dtype, down.dtype, up.dtype)
        return output.unflatten(0, states.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor | None, Tensor, None]:
        """Return the gradients of the input and of the update; none of an A that does not learn."""
        inputs, weight, narrow, low_down, low_up = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype).flatten(0, -2)
        to_narrow = (gradient @ low_up).mul_(ctx.scale)
        to_inputs = (gradient @ weight).addmm_(to_narrow, low_down)
        of_states, of_down, of_up = ctx.dtypes
        to_down = None if inputs is None else (to_narrow.T @ inputs).to(of_down)
        to_up = (gradient.T @ narrow).mul_(ctx.scale).to(of_up)
        return to_inputs.unflatten(0, gradients[0].shape[:-1]).to(of_states), None, None, to_down, to_up, None
