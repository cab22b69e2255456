"""Where the A of an adapter's updates begin, and whether they learn: adapters that are to be merged may settle it.

An update is B @ A. Adapters with one A that does not learn differ in B alone, so that their sum is one of B (FFA-LoRA,
https://arxiv.org/abs/2403.12313). Updates whose A are orthogonal act on different parts of what comes in (O-LoRA,
https://arxiv.org/abs/2310.14152).
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError
from eshop_ray.training.kernels.fused_lora import ADAPTER
from eshop_ray.training.merging.thinning import seeded

STARTS_AT_BASE = (True, "gaussian")
"""`init_lora_weights` under which B begins at 0, so that any A leaves the base as it is."""


def check_start(lora: LoraSection, model: Any) -> None:
    """Refuse settings under which an A could not begin or stay as the section says.

    Args:
        lora: The section.
        model: PEFT's wrapper of the base with an adapter of these settings; weights do not count.

    Raises:
        UserError: naming the setting, or the layer.
    """
    if lora.freeze_a:
        embeddings = [name for name, layer in _list_layers(model) if layer.lora_embedding_A]
        if embeddings:
            raise UserError(
                f"`lora.freeze_a`: the A of {embeddings[0]}, an embedding, begins at 0, so that nothing would be "
                "learned there; take it out of `lora.target_modules`, or leave `freeze_a` out"
            )
    if lora.orthogonal is None:
        return
    if lora.init_from:
        raise UserError("`lora.orthogonal` begins afresh, and `lora.init_from` goes on from an adapter; leave one out")
    start = lora.options.get("init_lora_weights", True)
    if start not in STARTS_AT_BASE:
        raise UserError(
            f"`lora.orthogonal` needs a B that begins at 0, and `lora.options.init_lora_weights: {start}` begins "
            "otherwise; leave that option out"
        )
    for name, layer in _list_layers(model):
        _check_room(name, layer, lora.orthogonal[1])


def begin_orthogonal(model: Any, part: tuple[int, int], seed: int) -> None:
    """Let every A be one block of rows that are orthogonal to one another, as long as those that PEFT has drawn.

    Args:
        model: PEFT's wrapper of a base with a fresh adapter, on the CPU.
        part: Which of how many blocks, from 1.
        seed: Of the rows of all blocks, together with the layer's name.
    """
    place, num_blocks = part
    for name, layer in _list_layers(model):
        weight = layer.lora_A[ADAPTER].weight
        rank, num_in = weight.shape
        with seeded(seed, name):
            rows = torch.linalg.qr(torch.randn(num_in, num_blocks * rank, dtype=torch.float64)).Q.T
        length = float(weight.norm()) / rank**0.5
        weight.data.copy_(rows[(place - 1) * rank : place * rank] * length)


def freeze_a(model: Any) -> None:
    """Let only B learn."""
    for _, layer in _list_layers(model):
        layer.lora_A[ADAPTER].weight.requires_grad_(False)


def list_frozen(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return name -> A that does not learn; it belongs to the adapter all the same. None for most models."""
    return {
        name: weight
        for name, weight in model.named_parameters(remove_duplicate=False)
        if ".lora_A." in name and not weight.requires_grad
    }


def _check_room(name: str, layer: Any, num_blocks: int) -> None:
    down = dict(layer.lora_A).get(ADAPTER)
    if not isinstance(down, torch.nn.Linear) or down.weight.shape != (layer.r[ADAPTER], layer.in_features):
        raise UserError(
            f"`lora.orthogonal`: the update of {name} is no product of two plain matrices; take it out of "
            "`lora.target_modules` and `lora.options`"
        )
    if num_blocks * layer.r[ADAPTER] > layer.in_features:
        raise UserError(
            f"`lora.orthogonal`: {name} takes {layer.in_features} numbers in, no room for {num_blocks} blocks of "
            f"`lora.r` {layer.r[ADAPTER]}; lower `lora.r`, or take fewer blocks"
        )


def _list_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers that get an update, by their names in the base."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
