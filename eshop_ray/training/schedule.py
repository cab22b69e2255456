"""Which rows meet in which step, and how fast each step learns: fixed by the seed, whatever the workers."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def build_batches(num_rows: int, num_epochs: int, global_batch_size: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of every step: each epoch a new order, each row once an epoch, the tail included."""
    batches: list[npt.NDArray[np.int64]] = []
    for epoch in range(num_epochs):
        order = np.random.default_rng((seed, epoch)).permutation(num_rows)
        batches += [order[start : start + global_batch_size] for start in range(0, num_rows, global_batch_size)]
    return batches


def take_share(batch: Sequence[int] | npt.NDArray[np.int64], rank: int, world_size: int) -> list[int]:
    """Return the rows of a global batch that one worker computes; the shares of all workers make up the batch."""
    return [int(row) for row in batch[rank::world_size]]


def cosine_rate(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate of a step: a linear climb, then half a cosine down to zero."""
    num_warmup = max(1, round(num_steps * warmup_share))
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
