"""What a task is to a model that does not write: words to tag, a label to give, candidates to rank.

Such a model reads the same user message as one that writes, and its output becomes a target, so the task's own
`format_target`, parser and metric read and score it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Kind = Literal["tags", "label", "candidates"]

OUTSIDE = "O"
"""The tag of a word that belongs to no span."""

Place = tuple[int, int]
"""Where a word of a text begins and ends."""


class NoLabelError(ValueError):
    """A question and its target do not fit each other: there is nothing to learn from."""


@dataclass(frozen=True, slots=True)
class Question:
    """A user message, taken apart."""

    text: str
    """What is read: the text to tag or label, the question that candidates are held against."""
    words: tuple[Place, ...] = ()
    """Of `tags`: the words of the text, each of which gets a tag."""
    candidates: tuple[str, ...] = ()
    """Of `candidates`: what is ranked."""
    first: int = 0
    """The number that the question gives the first candidate."""
    offered: str | None = None
    """Of `label`: the labels to choose from, as the question lists them; None: any."""


@dataclass(frozen=True, slots=True)
class Head:
    """One way in which a task is put to a model that does not write.

    Its functions are a module's, with names: tasks travel to workers.
    """

    kind: Kind
    read: Callable[[str], Question | None]
    """User message -> the question; None where the message is of another kind."""
    to_labels: Callable[[Any, Question], Sequence[str] | Sequence[float]]
    """Target -> what is learned: a tag for each word, one label, or the gain of each candidate. Raises `NoLabelError`
    where the target does not fit the question."""
    to_target: Callable[[Sequence[Any], Question], Any]
    """What a model says, in the same form (scores in place of gains) -> a target, which the task writes out."""


def list_offered(known: Sequence[str], offered: str | None) -> list[int]:
    """Return the numbers of the known labels that a question offers, as it lists them with commas between."""
    if offered is None:
        return list(range(len(known)))
    return [number for number, label in enumerate(known) if f", {label}, " in f", {offered}, "]


def one_hot(chosen: Sequence[int], question: Question) -> list[float]:
    """Return the gains of candidates of which some, by the question's numbers, are right and the others are not."""
    numbers = range(question.first, question.first + len(question.candidates))
    if not set(chosen) & set(numbers):
        raise NoLabelError("the answer is none of the question's options")
    return [float(number in chosen) for number in numbers]


def write_label(target: Any, question: Question) -> list[str]:  # noqa: ARG001
    """Return the one label that a target is."""
    return [str(target)]


def take_label(labels: Sequence[str], question: Question) -> str:  # noqa: ARG001
    """Return the target that a label is."""
    return labels[0]


def rank(scores: Sequence[float]) -> list[int]:
    """Return the places of scores, the highest first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place])


def find_words(text: str, pattern: str = r"\w+|[^\w\s]") -> tuple[Place, ...]:
    """Return where the words of a text stand; punctuation marks are words of their own."""
    return tuple(match.span() for match in re.finditer(pattern, text))


def find_runs(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the first word, the word after the last, and the type of each span of IOB2 tags."""
    start = None
    for place, tag in enumerate([*tags, OUTSIDE]):
        if start is not None and tag != f"I-{tags[start][2:]}":
            yield start, place, tags[start][2:]
            start = None
        if start is None and tag != OUTSIDE:
            start = place


def read_options(message: str) -> Question | None:
    """Take apart a question with numbered options, one a line or all in one; None where it has none.

    Options count from 0 or 1. The question is what stands before them, and a question behind them.
    """
    for pattern, ends in ((_LINE_OPTION, "\n"), (_INLINE_OPTION, ". ")):
        heads = _find_chain(list(pattern.finditer(message)))
        if not heads:
            continue
        texts = [message[head.end() : after.start()] for head, after in pairwise(heads)]
        last, _, tail = message[heads[-1].end() :].partition(ends)
        stem = message[: heads[0].start()] + " " + _CALL.sub("", tail)
        candidates = tuple(" ".join(text.split()) for text in (*texts, last))
        return Question(" ".join(stem.split()), candidates=candidates, first=int(heads[0][1]))
    return None


_LINE_OPTION = re.compile(r"(?:^|(?<=:))[ \t]*(\d{1,2})[.:)](?!\d)", re.MULTILINE)
_INLINE_OPTION = re.compile(r"(?:^|(?<=\s))(\d{1,2})\.\s")
_CALL = re.compile(r"\b(?:answer|output)\s*:\s*$", re.IGNORECASE)
"""What asks for the answer says nothing of it."""


def _find_chain(heads: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Return the longest run of numbers from 0 or 1, the last of equally long ones."""
    best: list[re.Match[str]] = []
    for place, head in enumerate(heads):
        if head[1] not in ("0", "1"):
            continue
        chain = [head]
        for other in heads[place + 1 :]:
            if int(other[1]) == int(chain[-1][1]) + 1:
                chain.append(other)
        if len(chain) > 1 and len(chain) >= len(best):
            best = chain
    return best
