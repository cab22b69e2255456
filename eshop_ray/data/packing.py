"""Shared-prefix packing: what several rows begin with is computed once.

Rows of a task share their instruction. A pack holds that prefix once and the rows behind it; each row attends to
the prefix and to itself, and its positions go on where the prefix ends, so it sees exactly what it would see alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

    def __len__(self) -> int:
        """Tokens of the row."""
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass; all arrays have shape (T,), int64."""

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """The token itself where it is part of an answer, else `IGNORED`; not shifted."""
    position_ids: npt.NDArray[np.int64]
    segment_ids: npt.NDArray[np.int64]
    """Number of the row within the pack; `PREFIX` for the shared part."""

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """Return who may look at whom, (T, T): causally, at the prefix and at one's own row."""
        queries, keys = self.segment_ids[:, None], self.segment_ids[None, :]
        visible: npt.NDArray[np.bool_] = np.tril((keys == PREFIX) | (keys == queries))
        return visible


def build_packs(rows: Sequence[TokenRow], pack_length: int) -> Iterator[Pack]:
    """Divide rows among packs of at most `pack_length` tokens, every row in exactly one.

    Rows of one task are packed together; a row that is longer than a pack gets a pack of its own.
    """
    for _, group in groupby(sorted(rows, key=lambda row: row.task), key=lambda row: row.task):
        members = list(group)
        num_shared = count_shared(members)
        pending: list[TokenRow] = []
        length = num_shared
        for row in members:
            if pending and length + len(row) - num_shared > pack_length:
                yield _join(pending, num_shared)
                pending, length = [], num_shared
            pending.append(row)
            length += len(row) - num_shared
        yield _join(pending, num_shared)


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


def _join(rows: Sequence[TokenRow], num_shared: int) -> Pack:
    input_ids = list(rows[0].prompt_ids[:num_shared])
    labels = [IGNORED] * num_shared
    position_ids = list(range(num_shared))
    segment_ids = [PREFIX] * num_shared
    for segment, row in enumerate(rows):
        own = row.prompt_ids[num_shared:]
        input_ids += [*own, *row.answer_ids]
        labels += [*[IGNORED] * len(own), *row.answer_ids]
        position_ids += range(num_shared, len(row))
        segment_ids += [segment] * (len(own) + len(row.answer_ids))
    return Pack(*(np.array(values, dtype=np.int64) for values in (input_ids, labels, position_ids, segment_ids)))
