"""Shared-prefix packing: what several rows begin with is computed once.

Rows of a task share their instruction. A pack holds that prefix once and the rows behind it; each row attends to
the prefix and to itself, and its positions go on where the prefix ends, so it sees exactly what it would see alone.
A pack may hold several such groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eshop_ray.training.packing.soft_targets import SoftTargets

PREFIX = -1
"""`segment_ids` of prefix tokens."""
IGNORED = -100
"""`labels` of tokens without a loss."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row to learn from."""

    id: str
    task: str
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    weight: float = 1.0
    """What each of its answer tokens counts in the loss."""
    targets: SoftTargets | None = None
    """What a teacher says of its answer tokens, where there is one."""

    def __len__(self) -> int:
        """Tokens of the row."""
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass; all arrays have shape (T,)."""

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """The token itself where it is part of an answer, else `IGNORED`; not shifted."""
    position_ids: npt.NDArray[np.int64]
    segment_ids: npt.NDArray[np.int64]
    """Number of the row within the pack; `PREFIX` for shared parts."""
    group_ids: npt.NDArray[np.int64]
    """Number of the group, a prefix and its rows, within the pack."""
    weights: npt.NDArray[np.float32]
    """What a token counts in the loss."""
    ids: tuple[str, ...]
    """The rows' ids, by number of the row within the pack."""
    tasks: tuple[str, ...]
    """The rows' tasks, likewise."""
    targets: SoftTargets | None = None
    """What a teacher says of the answer tokens, in the order of the pack; None: there is no teacher."""

    def __len__(self) -> int:
        """Tokens of the pack."""
        return len(self.input_ids)

    def split(self) -> "list[Pack]":
        """Return the rows in packs of their own, each with the whole of its prompt."""
        return [self._take(row) for row in range(len(self.ids))]

    def _take(self, row: int) -> "Pack":
        is_own = self.segment_ids == row
        group = self.group_ids[np.flatnonzero(is_own)[0]]
        chosen = is_own | ((self.segment_ids == PREFIX) & (self.group_ids == group))
        return Pack(
            input_ids=self.input_ids[chosen],
            labels=self.labels[chosen],
            position_ids=self.position_ids[chosen],
            segment_ids=np.zeros(int(chosen.sum()), np.int64),
            group_ids=np.zeros(int(chosen.sum()), np.int64),
            weights=self.weights[chosen],
            ids=(self.ids[row],),
            tasks=(self.tasks[row],),
            targets=self.targets and self.targets.take(is_own[self.labels != IGNORED]),
        )

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """Return who may look at whom, (T, T): causally, at the own group's prefix and at one's own row."""
        same_group = self.group_ids[:, None] == self.group_ids[None, :]
        same_row = self.segment_ids[:, None] == self.segment_ids[None, :]
        visible: npt.NDArray[np.bool_] = np.tril(same_group & (same_row | (self.segment_ids == PREFIX)[None, :]))
        return visible


def build_pack(rows: Sequence[TokenRow], groups: Sequence[int] | None = None) -> Pack:
    """Write rows behind each other, what a group shares once before its rows.

    Args:
        rows: The rows of one forward pass. They keep their order within a group, and groups come in the order of
            their first rows.
        groups: Number of each row's group, any numbers; None makes one group of each task's rows.
    """
    keys: Sequence[int | str] = [row.task for row in rows] if groups is None else groups
    members: dict[int | str, list[TokenRow]] = {}
    for row, key in zip(rows, keys, strict=True):
        members.setdefault(key, []).append(row)
    pack = _OpenPack()
    for group in members.values():
        num_shared = count_shared(group) if len(group) > 1 else 0  # a lone row shares with nobody
        pack.add_prefix(group[0].prompt_ids[:num_shared])
        for row in group:
            pack.add_row(row, num_shared)
    return pack.close()


def count_shared(rows: Sequence[TokenRow]) -> int:
    """Return how many prompt tokens all rows begin with, at least one being left to each row.

    The rows between the smallest and the largest prompt share what those two share.
    """
    prompts = [tuple(row.prompt_ids) for row in rows]
    first, last = min(prompts), max(prompts)
    limit = max(0, min(len(prompt) for prompt in prompts) - 1)
    for index in range(limit):
        if first[index] != last[index]:
            return index
    return limit


@dataclass(slots=True)
class _OpenPack:
    """A pack that still takes rows; its lists become the arrays of a `Pack`."""

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    segment_ids: list[int] = field(default_factory=list)
    group_ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    rows: list[TokenRow] = field(default_factory=list)
    num_groups: int = 0

    def add_prefix(self, ids: Sequence[int]) -> None:
        """Begin a group with what its rows share."""
        self.num_groups += 1
        self._extend(ids, start=0, segment=PREFIX, num_answer=0, weight=0.0)

    def add_row(self, row: TokenRow, num_shared: int) -> None:
        """Add what a row has of its own to the group begun last."""
        own = [*row.prompt_ids[num_shared:], *row.answer_ids]
        self._extend(own, num_shared, len(self.rows), len(row.answer_ids), row.weight)
        self.rows.append(row)

    def close(self) -> Pack:
        """Return the finished pack."""
        targets = [row.targets for row in self.rows if row.targets is not None]
        return Pack(
            input_ids=np.array(self.input_ids, dtype=np.int64),
            labels=np.array(self.labels, dtype=np.int64),
            position_ids=np.array(self.position_ids, dtype=np.int64),
            segment_ids=np.array(self.segment_ids, dtype=np.int64),
            group_ids=np.array(self.group_ids, dtype=np.int64),
            weights=np.array(self.weights, dtype=np.float32),
            ids=tuple(row.id for row in self.rows),
            tasks=tuple(row.task for row in self.rows),
            targets=SoftTargets.join(targets) if targets else None,
        )

    def _extend(self, ids: Sequence[int], start: int, segment: int, num_answer: int, weight: float) -> None:
        num_prompt = len(ids) - num_answer
        self.input_ids += ids
        self.labels += [*[IGNORED] * num_prompt, *ids[num_prompt:]]
        self.position_ids += range(start, start + len(ids))
        self.segment_ids += [segment] * len(ids)
        self.group_ids += [self.num_groups - 1] * len(ids)
        self.weights += [*[0.0] * num_prompt, *[weight] * num_answer]
