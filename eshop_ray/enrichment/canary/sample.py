"""Which questions are the canary: those of the smallest hash, so that any part of the questions tells its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eshop_ray.enrichment.exchange import bucket_of
from eshop_ray.schema import Row

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

    def add_questions(self, rows: Sequence[Row]) -> None:
        """Take rows of `SHARD_ROWS`, those in trouble left out."""
        by_task: dict[str, list[int]] = {}
        for row in rows if self.num_rows else ():
            if not _is_in_trouble(row):
                by_task.setdefault(row["task"], []).append(hash_question(row["key"]))
        for task, hashes in by_task.items():
            self.add(task, hashes)


def hash_question(key: str) -> int:
    """Return a number that says nothing of a question but whether it is the same."""
    return bucket_of(key, _HASHES)


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


def split(rows: Iterable[Row], drawn: Draw) -> tuple[list[Row], list[Row]]:
    """Divide rows of `SHARD_ROWS` into those of the canary and all others, each in the order in which they come."""
    canary: list[Row] = []
    others: list[Row] = []
    for row in rows:
        is_drawn = hash_question(row["key"]) <= drawn.get(row["task"], -1) and not _is_in_trouble(row)
        (canary if is_drawn else others).append(row)
    return canary, others


def read_answered(rows: Iterable[Mapping[str, Any]]) -> Iterator[Answered]:
    """Yield what is told of answers, rows of an engine with `targets`."""
    for row in rows:
        failed = row["error"] is not None
        prediction = None if failed else row["prediction"]
        yield Answered(row["targets"][0]["product_id"], failed, prediction, row["num_generated_tokens"])


def _is_in_trouble(row: Row) -> bool:
    """Whether it failed before: what is asked again of the quarantine tells nothing of tonight's engine."""
    return any(target["clears"] for target in row["targets"])
