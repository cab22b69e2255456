"""Rows of a split as questions, and training rows as the examples that they may get."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eshop_ray.schema import content_id, decode
from eshop_ray.tasks import Task

_SPLIT = re.compile(r"[\W_]+")


@dataclass(slots=True)
class Questions:
    """Rows of one task and group."""

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """What the user says."""
    targets: list[Any] = field(default_factory=list)
    owners: list[str | None] = field(default_factory=list)
    """The query or product that a row belongs to, where `evaluate.clusters` names it."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Barred:
    """Training rows that may not stand before a question: they would give its answer away."""

    by_text: Mapping[str, Sequence[int]]
    by_owner: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, pool: Questions) -> "Barred":
        """Sort training rows by what bars them."""
        by_text, by_owner = defaultdict(list), defaultdict(list)
        for place, (text, owner) in enumerate(zip(pool.texts, pool.owners, strict=True)):
            by_text[digest_text(text)].append(place)
            if owner is not None:
                by_owner[owner].append(place)
        return cls(by_text, by_owner)

    def find(self, questions: Questions, number: int) -> tuple[set[int], set[int]]:
        """Return the rows that are a question itself, and others that belong to the same query or product."""
        owner = questions.owners[number]
        identical = set(self.by_text.get(digest_text(questions.texts[number]), ()))
        related = set(self.by_owner.get(owner, ())) if owner is not None else set()
        return identical, related - identical


def digest_text(text: str) -> str:
    """Return what texts have in common that differ in case, blanks and punctuation only."""
    folded = _SPLIT.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return content_id(folded or text)


def group_rows(
    rows: Sequence[Mapping[str, Any]], task: Task, owners: Mapping[tuple[str, str], str]
) -> dict[str, Questions]:
    """Return the rows of a task by group; a row that its task cannot ask about is left out, as it gets no prompt.

    Args:
        rows: Of `RECORD_SCHEMA`.
        task: Theirs.
        owners: Task and id -> what a row belongs to.
    """
    groups: dict[str, Questions] = {}
    for row_id, group, text, target in _read_rows(rows, task):
        members = groups.setdefault(group, Questions())
        members.ids.append(row_id)
        members.texts.append(text)
        members.targets.append(target)
        members.owners.append(owners.get((task.name, row_id)))
    return groups


def _read_rows(rows: Sequence[Mapping[str, Any]], task: Task) -> Iterator[tuple[str, str, str, Any]]:
    for row in rows:
        try:
            text = task.format_input(decode(row["fields"]))
            text.encode()
        except Exception:  # `add_prompts` tells of such a row
            continue
        yield row["id"], row["group"] or task.name, text, decode(row["target"])
