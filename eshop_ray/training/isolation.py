"""Whether a model keeps the rows of a pack apart: tried on a few tokens before it is trained.

Packing replaces the attention of Transformers. What does not go through it (recurrent, convolutional and linear
attention layers, an attention of the model's own) lets a row see its neighbours: gradients are wrong without a word.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from eshop_ray.training.loss import answer_losses
from eshop_ray.training.model import get_causal_lm
from eshop_ray.training.packing.pack import Pack, TokenRow, build_pack

NUM_SHARED, NUM_OWN, NUM_ANSWER = 6, 5, 7
"""Tokens of the two rows that are tried."""
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
"""Share by which a row's losses may differ from those that it has alone: sums are taken in another order."""


def keeps_rows_apart(model: Any, precision: str) -> bool:
    """Return whether a row in a pack has the losses that it has alone, and none of them depends on its neighbour.

    The second is told by gradients: those of a row's losses by its neighbour's tokens are exactly zero where nothing
    leads from one to the other, in any precision.

    Args:
        model: A causal LM of Transformers whose attention follows layouts, or PEFT's wrapper of one; whole, on one
            device.
        precision: `fp32` or `bf16`, in which it computes.
    """
    first, second = _draw_rows(get_causal_lm(model).get_input_embeddings().num_embeddings)
    pack, was_training = build_pack([first, second]), model.training
    model.eval()
    losses, gradients = _measure(model, pack, precision)
    alone, _ = _measure(model, build_pack([second]), precision)
    model.train(was_training)
    is_seen = bool(gradients[torch.from_numpy(pack.segment_ids == 0)].any())
    is_same = float((losses - alone).abs().max()) <= TOLERANCE[precision] * float(alone.abs().mean())
    return is_same and not is_seen


def _draw_rows(num_known: int) -> list[TokenRow]:
    drawn = np.random.default_rng(0).integers(0, num_known, (3, NUM_OWN + NUM_ANSWER)).tolist()
    shared = drawn[0][:NUM_SHARED]
    return [TokenRow(str(number), "", shared + ids[:NUM_OWN], ids[NUM_OWN:]) for number, ids in enumerate(drawn[1:])]


def _measure(model: Any, pack: Pack, precision: str) -> tuple[Tensor, Tensor]:
    """Return the losses of the last row's answer tokens, (A,), and how much the embedding of each token of the pack
    counts for their sum, (T,).
    """
    embedding, seen = get_causal_lm(model).get_input_embeddings(), list[Tensor]()

    def follow(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        seen.append(embedded.detach().requires_grad_())
        return seen[0]

    device = embedding.weight.device
    hook = embedding.register_forward_hook(follow)
    try:
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            losses, rows = answer_losses(model, pack, "mask", device)
            last = losses[rows == len(pack.ids) - 1].float()
            (gradient,) = torch.autograd.grad(last.sum(), seen)
    finally:
        hook.remove()
    return last.detach().cpu(), gradient[0].float().abs().sum(-1).cpu()
