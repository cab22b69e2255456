"""Shared-prefix packing: what several rows begin with is computed once.

Rows of a task share their instruction. A pack holds that prefix once and the rows behind it; each row attends to
the prefix and to itself, and its positions go on where the prefix ends, so it sees exactly what it would see alone.
A pack may hold several such groups, one for each task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

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

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """Return who may look at whom, (T, T): causally, at the own group's prefix and at one's own row."""
        same_group = self.group_ids[:, None] == self.group_ids[None, :]
        same_row = self.segment_ids[:, None] == self.segment_ids[None, :]
        visible: npt.NDArray[np.bool_] = np.tril(same_group & (same_row | (self.segment_ids == PREFIX)[None, :]))
        return visible


def build_packs(rows: Sequence[TokenRow], pack_length: int) -> Iterator[Pack]:
    """Divide rows among packs of at most `pack_length` tokens, every row in exactly one.

    A row that is longer than a pack gets a pack of its own.
    """
    pack = _OpenPack()
    for _, group in groupby(sorted(rows, key=lambda row: row.task), key=lambda row: row.task):
        members = list(group)
        num_shared = count_shared(members)
        is_open = False
        for row in members:
            num_more = len(row) - (num_shared if is_open else 0)
            if pack.input_ids and len(pack.input_ids) + num_more > pack_length:
                yield pack.close()
                pack, is_open = _OpenPack(), False
            if not is_open:
                pack.add_prefix(row.prompt_ids[:num_shared])
                is_open = True
            pack.add_row(row, num_shared)
    if pack.input_ids:
        yield pack.close()


def count_shared(rows: Sequence[TokenRow]) -> int:
    """Return how many prompt tokens all rows begin with, at least one being left to each row.

    The rows between the smallest and the largest prompt share what those two share.
    """
    prompts = [tuple(row.prompt_ids) for row in rows]
    first, last = min(prompts), max(prompts)
    limit = min(len(prompt) for prompt in prompts) - 1
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
    num_rows: int = 0
    num_groups: int = 0

    def add_prefix(self, ids: Sequence[int]) -> None:
        """Begin a group with what its rows share."""
        self.num_groups += 1
        self._extend(ids, start=0, segment=PREFIX, num_answer=0, weight=0.0)

    def add_row(self, row: TokenRow, num_shared: int) -> None:
        """Add what a row has of its own to the group begun last."""
        own = [*row.prompt_ids[num_shared:], *row.answer_ids]
        self._extend(own, num_shared, self.num_rows, len(row.answer_ids), row.weight)
        self.num_rows += 1

    def close(self) -> Pack:
        """Return the finished pack."""
        return Pack(
            input_ids=np.array(self.input_ids, dtype=np.int64),
            labels=np.array(self.labels, dtype=np.int64),
            position_ids=np.array(self.position_ids, dtype=np.int64),
            segment_ids=np.array(self.segment_ids, dtype=np.int64),
            group_ids=np.array(self.group_ids, dtype=np.int64),
            weights=np.array(self.weights, dtype=np.float32),
        )

    def _extend(self, ids: Sequence[int], start: int, segment: int, num_answer: int, weight: float) -> None:
        num_prompt = len(ids) - num_answer
        self.input_ids += ids
        self.labels += [*[IGNORED] * num_prompt, *ids[num_prompt:]]
        self.position_ids += range(start, start + len(ids))
        self.segment_ids += [segment] * len(ids)
        self.group_ids += [self.num_groups - 1] * len(ids)
        self.weights += [*[0.0] * num_prompt, *[weight] * num_answer]
