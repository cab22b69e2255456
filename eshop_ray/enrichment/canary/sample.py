"""Which questions are the canary: those of the smallest hash, so that any part of the questions tells its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.enrichment.placing import place_values

_HASHES = 1 << 62

Draw = Mapping[str, int]
"""Task -> the largest hash of a question of the canary; a task without canary is missing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the canary, as plain values may hold it."""

    product_id: str
    """The first of the products that it is for."""
    failed: bool
    """Whether it went to the quarantine."""
    prediction: str | None
    """JSON text; None where it failed."""
    num_tokens: int
    """Generated, both tries together."""


@dataclass(slots=True)
class Candidates:
    """The smallest hashes among some questions."""

    num_rows: int
    """Size of the canary: none needs more of any task."""
    hashes: dict[str, list[int]] = field(default_factory=dict)
    """Task -> hashes of different questions, rising."""

    def add(self, task: str, hashes: Iterable[int]) -> None:
        """Take hashes of questions of a task."""
        self.hashes[task] = sorted({*self.hashes.get(task, ()), *hashes})[: self.num_rows]

    def add_questions(self, rows: pa.Table) -> None:
        """Take rows of `SHARD_ROWS`, those in trouble left out."""
        if not self.num_rows:
            return
        rows = rows.filter(~_find_trouble(rows))
        hashes, tasks = hash_questions(rows["key"]), rows["task"]
        for task in tasks.unique().to_pylist():
            own = np.unique(hashes[pc.equal(tasks, task).to_numpy()])
            self.add(task, own[: self.num_rows].tolist())


def hash_questions(keys: pa.ChunkedArray) -> np.ndarray:
    """Return for each key a number that says nothing of a question but whether it is the same."""
    return place_values([keys], _HASHES)


def draw(candidates: Candidates) -> Draw:
    """Divide the canary among the tasks: equal parts, and what a task has too few questions for goes to the others."""
    left = candidates.num_rows
    drawn: dict[str, int] = {}
    tasks = sorted(candidates.hashes, key=lambda task: (len(candidates.hashes[task]), task))
    for number, task in enumerate(tasks):
        hashes = candidates.hashes[task]
        part = min(len(hashes), -(-left // (len(tasks) - number)))
        left -= part
        if part:
            drawn[task] = hashes[part - 1]
    return drawn


def split(rows: pa.Table, drawn: Draw) -> tuple[pa.Table, pa.Table]:
    """Divide rows of `SHARD_ROWS` into those of the canary and all others, each in the order in which they come."""
    largest = np.array([drawn.get(task, -1) for task in rows["task"].to_pylist()], np.int64)
    is_drawn = (hash_questions(rows["key"]) <= largest) & ~_find_trouble(rows)
    return rows.filter(is_drawn), rows.filter(~is_drawn)


def read_answered(rows: Iterable[Mapping[str, Any]]) -> Iterator[Answered]:
    """Yield what is told of answers, rows of an engine with `targets`."""
    for row in rows:
        failed = row["error"] is not None
        prediction = None if failed else row["prediction"]
        yield Answered(row["targets"][0]["product_id"], failed, prediction, row["num_generated_tokens"])


def _find_trouble(rows: pa.Table) -> np.ndarray:
    """Return which failed before, (rows,): what is asked again of the quarantine tells nothing of tonight's engine."""
    if not len(rows):
        return np.zeros(0, dtype=bool)
    targets = rows["targets"].combine_chunks()
    clears = pc.fill_null(pc.struct_field(targets.flatten(), "clears"), False).to_numpy(zero_copy_only=False)
    starts = np.cumsum([0, *pc.list_value_length(targets).to_pylist()])[:-1]
    in_trouble: np.ndarray = np.logical_or.reduceat(clears, starts)
    return in_trouble
