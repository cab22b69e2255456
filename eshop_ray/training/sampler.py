"""Which rows meet in which step and pack: settled before training by the seed, whatever the workers.

The sampler holds a few numbers a row and no tokens; what a step consists of is computed when the step is due.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eshop_ray.config import TrainSection
from eshop_ray.training.distilling.target_store import TargetStore
from eshop_ray.training.packing.bin_packing import Ints, fill_packs
from eshop_ray.training.packing.pack import Pack, build_pack
from eshop_ray.training.packing.prefixes import Prefixes, find_prefixes
from eshop_ray.training.tokens import TokenStore

HELD_OUT_SHARE = 10
"""At most one row of so many of a task is held out."""


@dataclass(frozen=True, eq=False)
class BatchSampler:
    """The whole course of a run. Rows are named by their numbers in the store."""

    rows: Ints
    """Rows to learn from, in the store's order."""
    held_out: Ints
    """Rows kept out of training, in the store's order."""
    prefixes: Prefixes
    """Of all rows of the store."""
    num_prompt: Ints
    """Prompt tokens of all rows of the store."""
    num_answer: Ints
    """Answer tokens of all rows of the store."""
    num_epochs: int
    global_batch_size: int
    pack_length: int
    loss_weighting: str
    task_weights: npt.NDArray[np.float64]
    """What a row of the store counts for, by its task."""
    seed: int

    @property
    def num_rows(self) -> int:
        """Rows of one epoch."""
        return len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each row is seen once, the last one perhaps with fewer rows."""
        return -(-self.num_rows // self.global_batch_size)

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.steps_per_epoch * self.num_epochs

    def pick_rows(self, step: int) -> Ints:
        """Return the rows of a step's global batch, in the store's order."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = _shuffle(self.num_rows, self.seed, epoch)
        return np.sort(self.rows[order[number * self.global_batch_size :][: self.global_batch_size]])

    def pick_packs(self, step: int, num_shares: int = 1) -> list[Ints]:
        """Return the rows of each pack of a step; see `fill_packs`."""
        return self.divide(self.pick_rows(step), self.pack_length, num_shares)

    def divide(self, rows: Ints, pack_length: int, num_shares: int = 1) -> list[Ints]:
        """Divide rows among packs."""
        shared = self.prefixes.lengths[rows]
        own = self.num_prompt[rows] + self.num_answer[rows] - shared
        return [rows[pack] for pack in fill_packs(own, self.prefixes.groups[rows], shared, pack_length, num_shares)]

    def count_tokens(self, rows: Ints) -> int:
        """Return the tokens of rows, each with its whole prompt."""
        return int(self.num_prompt[rows].sum() + self.num_answer[rows].sum())

    def count_packed(self, rows: Ints) -> int:
        """Return the tokens of a pack of rows: what a group shares counts once."""
        shared = self.prefixes.lengths[rows]
        _, first = np.unique(self.prefixes.groups[rows], return_index=True)
        return self.count_tokens(rows) - int(shared.sum()) + int(shared[first].sum())

    def sum_weights(self, rows: Ints) -> float:
        """Return the weights of all answer tokens of rows."""
        weights = self.task_weights[rows]
        return float((weights if self.loss_weighting == "row" else weights * self.num_answer[rows]).sum())

    def build_pack(self, store: TokenStore, rows: Ints, targets: TargetStore | None = None) -> Pack:
        """Read the rows of a pack, weigh their answers and write them behind each other.

        Args:
            store: Of all rows.
            rows: Numbers of those of the pack.
            targets: What a teacher says of the rows.
        """
        weigh_rows = self.loss_weighting == "row"
        weighed = [
            replace(
                row,
                weight=weight / len(row.answer_ids) if weigh_rows and row.answer_ids else weight,
                targets=targets.read(number, row.answer_ids) if targets else None,
            )
            for number, row, weight in zip(
                rows.tolist(), store.read(rows), self.task_weights[rows].tolist(), strict=True
            )
        ]
        return build_pack(weighed, self.prefixes.groups[rows].tolist())


def build_sampler(store: TokenStore, train: TrainSection, seed: int) -> BatchSampler:
    """Settle which rows are held out, who shares a prefix with whom, and in which order rows are learned."""
    held_out = hold_out(store, train.num_held_out, seed)
    return BatchSampler(
        rows=np.setdiff1d(np.arange(len(store)), held_out),
        held_out=held_out,
        prefixes=find_prefixes(store.read_prompts, store.num_prompt, train.global_batch_size),
        num_prompt=store.num_prompt,
        num_answer=store.num_answer,
        num_epochs=train.num_epochs,
        global_batch_size=train.global_batch_size,
        pack_length=train.pack_length,
        loss_weighting=train.loss_weighting,
        task_weights=np.array([train.task_weights.get(str(task), 1.0) for task in store.tasks]),
        seed=seed,
    )


def hold_out(store: TokenStore, num_held_out: int, seed: int) -> Ints:
    """Choose rows of each task by a hash of id and seed, rows of the same id together."""
    if not num_held_out:
        return np.zeros(0, dtype=np.int64)
    ids = store.ids.to_pylist()
    chosen: list[int] = []
    for task in np.unique(store.tasks):
        of_task = np.flatnonzero(store.tasks == task)
        ranked = sorted((_hash(ids[row], seed), ids[row], int(row)) for row in of_task)
        limit = min(num_held_out, len(ranked) // HELD_OUT_SHARE)
        while limit > 0 and ranked[limit - 1][1] == ranked[limit][1]:
            limit -= 1
        chosen += [row for _, _, row in ranked[:limit]]
    return np.array(sorted(chosen), dtype=np.int64)


def _hash(row_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{row_id}".encode(), digest_size=8).digest()


@lru_cache(maxsize=2)
def _shuffle(num_rows: int, seed: int, epoch: int) -> Ints:
    return np.random.default_rng((seed, epoch)).permutation(num_rows)
