"""Casts between fp32 and bf16 that change no number, left out: each is a pass over all activations."""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from eshop_ray.training.model import find_layers, get_causal_lm

PRE_NORM = {"llama", "mistral", "qwen2", "qwen3"}
"""Architectures (`model_type`) whose layers' norms feed projections and nothing else."""
NORMS = ("input_layernorm", "post_attention_layernorm")


def cast_once(model: Any) -> None:
    """Let what several matrix products read be cast to bf16 once, before all of them, instead of by each.

    Under autocast every product casts its input anew. The products of an adapter even get theirs by way of fp32,
    since PEFT brings inputs to the dtype of the adapter's weights first.

    Args:
        model: Trained under autocast to bf16.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
    causal_lm = get_causal_lm(model)
    if causal_lm.config.model_type in PRE_NORM:
        for layer in find_layers(model):
            for name in NORMS:
                getattr(layer, name).register_forward_hook(_to_bf16)


def _to_bf16(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:  # noqa: ARG001
    return output.to(torch.bfloat16)
