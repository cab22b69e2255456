"""What a model makes of a few tokens: whether it keeps the rows of a pack apart, and computes what it should.

Training replaces parts of a model: its attention, so that rows share a pass, and layers, so that a pass is shorter.
What does not go through the attention (recurrent, convolutional and linear attention layers, an attention of the
model's own) lets a row see its neighbours, and a part that is replaced by something else gives wrong gradients without
a word.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eshop_ray.training.loss import answer_losses
from eshop_ray.training.model import get_causal_lm
from eshop_ray.training.packing.pack import Pack, TokenRow, build_pack

NUM_SHARED, NUM_OWN, NUM_ANSWER = 6, 5, 7
"""Tokens of the two rows that are tried."""
LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
"""Share by which losses may differ where sums are taken in another order."""
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.25}
"""The same of gradients, which pass through all of the model's rounding."""
ROUNDING = {"fp32": 2.0**-23, "bf16": 2.0**-8}
"""What rounding once changes a value by, relative to it."""
NUM_ROUNDED = 3
"""Times that an input is rounded to see what comes of it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model says of the second of two rows."""

    losses: Tensor
    """(A,), of its answer tokens."""
    gradients: Tensor
    """(T,): how much the embedding of each token counts for their sum."""
    is_own: Tensor
    """(T,): which tokens lead to that row."""

    def is_like(self, other: "Trial", precision: str, noise: tuple[float, float] = (0.0, 0.0)) -> bool:
        """Whether another trial has the same losses and gradients, up to rounding.

        Args:
            other: Of the same row, in a pack or alone.
            precision: `fp32` or `bf16`, in which both were computed.
            noise: What a loss and the gradients may differ by in any case; see `rounding_noise`.
        """
        loss = max(noise[0], LOSS_TOLERANCE[precision] * float(other.losses.abs().mean()))
        gradient = max(noise[1], GRADIENT_TOLERANCE[precision] * float(other.gradients[other.is_own].norm()))
        return self.loss_distance(other) <= loss and self.gradient_distance(other) <= gradient

    def loss_distance(self, other: "Trial") -> float:
        """Return the largest difference of a token's loss."""
        return float((self.losses - other.losses).abs().max())

    def gradient_distance(self, other: "Trial") -> float:
        """Return the norm of the difference of the row's own gradients."""
        return float((self.gradients[self.is_own] - other.gradients[other.is_own]).norm())

    @property
    def sees_others(self) -> bool:
        """Whether a row that is not its own counts for it: exactly nothing does where rows are kept apart."""
        return bool(self.gradients[~self.is_own].any())


def try_alone(model: Any, precision: str, attention: str = "mask") -> Trial:
    """Return what a model says of a row that stands alone.

    Args:
        model: A causal LM of Transformers, or PEFT's wrapper of one; whole, on one device, as it came or replaced.
        precision: `fp32` or `bf16`, in which it computes.
        attention: By which way, once its attention follows layouts.
    """
    return _try(model, build_pack([_draw_rows(model)[1]]), precision, attention)


def keeps_rows_apart(model: Any, precision: str, attention: str = "mask") -> bool:
    """Return whether a row in a pack has the losses that it has alone, and none of them depends on its neighbour.

    The second is told by gradients: those of a row's losses by its neighbour's tokens are exactly zero where nothing
    leads from one to the other, in any precision.

    Args:
        model: A causal LM of Transformers whose attention follows layouts, or PEFT's wrapper of one; whole, on one
            device.
        precision: `fp32` or `bf16`, in which it computes.
        attention: By which way.
    """
    packed = _try(model, build_pack(_draw_rows(model)), precision, attention)
    if packed.sees_others:
        return False
    alone = try_alone(model, precision, attention)
    return packed.is_like(alone, precision) or packed.is_like(
        alone, precision, rounding_noise(model, precision, attention, alone)
    )


def rounding_noise(model: Any, precision: str, attention: str, trial: Trial) -> tuple[float, float]:
    """Return how far a loss and the gradients move when a model's input is rounded.

    That is much where it sends a token to another expert.

    Args:
        model: As it was tried.
        precision: Likewise.
        attention: Likewise.
        trial: What came of it alone.
    """
    pack = build_pack([_draw_rows(model)[1]])
    rounded = [_try(model, pack, precision, attention, seed) for seed in range(NUM_ROUNDED)]
    return (
        2 * max(other.loss_distance(trial) for other in rounded),
        2 * max(other.gradient_distance(trial) for other in rounded),
    )


def _draw_rows(model: Any) -> list[TokenRow]:
    num_known = len(get_causal_lm(model).get_input_embeddings().weight)
    drawn = np.random.default_rng(0).integers(0, num_known, (3, NUM_OWN + NUM_ANSWER)).tolist()
    shared = drawn[0][:NUM_SHARED]
    return [TokenRow(str(number), "", shared + ids[:NUM_OWN], ids[NUM_OWN:]) for number, ids in enumerate(drawn[1:])]


def _try(model: Any, pack: Pack, precision: str, attention: str, rounding_seed: int | None = None) -> Trial:
    """Return what a model says of the last row of a pack; with a seed, of an input that is rounded by chance."""
    embedding, seen = get_causal_lm(model).get_input_embeddings(), list[Tensor]()
    draw = torch.Generator().manual_seed(rounding_seed or 0)
    share = 0.0 if rounding_seed is None else ROUNDING[precision]

    def follow(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        signs = torch.randint(0, 2, embedded.shape, generator=draw).mul_(2).sub_(1).to(embedded)
        seen.append((embedded.detach() * (1 + share * signs)).requires_grad_())
        return seen[0].clone()  # some models go on to change it in place

    device, was_training = embedding.weight.device, model.training
    hook = embedding.register_forward_hook(follow)
    model.eval()
    try:
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            losses, rows = answer_losses(model, pack, attention, device)
            last = losses[rows == len(pack.ids) - 1].float()
            (gradient,) = torch.autograd.grad(last.sum(), seen)
    finally:
        hook.remove()
        model.train(was_training)
    own = torch.from_numpy(pack.segment_ids != 0) if len(pack.ids) > 1 else torch.ones(len(pack), dtype=torch.bool)
    return Trial(last.detach().cpu(), gradient[0].float().abs().sum(-1).cpu(), own)
