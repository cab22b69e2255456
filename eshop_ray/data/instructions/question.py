"""What a builder makes of material: a question's parts and its answer, before wording, numbers and order are chosen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from eshop_ray.data.instructions.material import Material
from eshop_ray.data.instructions.pool import Pool

Wordings = Mapping[str, tuple[str, ...]]
"""Language -> ways to ask, with `{name}` for a question's values and `{options}`; the last is held out as unseen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options is right."""

    right: str
    wrong: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grade:
    """A digit, such as stars, that the question does not offer by options."""

    value: int


@dataclass(frozen=True, slots=True)
class Selection:
    """At most three of many options are right."""

    right: Sequence[str]
    wrong: Sequence[str]


@dataclass(frozen=True, slots=True)
class Order:
    """Options with how relevant each is."""

    options: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Text:
    """Words to write."""

    text: str
    references: Sequence[str] = ()
    """Other texts that are as right."""
    is_quotable: bool = False
    """Whether the answer may stand in the question, as a sentence of the evidence may."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Parts of the text that is asked about."""

    spans: Sequence[str]


Answer = Choice | Grade | Selection | Order | Text | Spans

TASK_OF: Mapping[type, str] = {
    Choice: "multiple_choice",
    Grade: "multiple_choice",
    Selection: "retrieval",
    Order: "ranking",
    Text: "generation",
    Spans: "ner",
}
"""Kind of answer -> the task that reads and scores it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a sub-task."""

    values: Mapping[str, str]
    """Name in the wordings -> text."""
    answer: Answer
    language: str | None = None
    """Of its texts, where it has to be asked in that; None: that of its material, or any that the recipe names."""
    keys: tuple[str, ...] = ()
    """Products and queries that it names beside those of its material."""
    metric: str | None = None
    """Where it is another than its sub-task's."""


Build = Callable[[Any, Pool, Random], Iterator[Question]]
"""(material, the material beside it, choices) -> questions. Pure: the same arguments give the same questions."""


@dataclass(frozen=True, slots=True)
class Subtask:
    """One sub-task: what it asks of which material, and in which words."""

    name: str
    takes: tuple[type[Material], ...]
    """Kinds of material that its builder understands."""
    build: Build
    wordings: Wordings
    examples: tuple[Material, ...]
    """A small stock of material: documentation, and the stock of the contract test."""
    metric: str | None = None
    """Where it is another than its task's own."""
