"""The texts of a question as keys: what it may name, and what it says, to be held against evaluation sets."""

from collections.abc import Iterator

from eshop_ray.data.instructions.material import text_key
from eshop_ray.data.instructions.question import Question, Text

PART = " | "
"""Stands between texts that are shown together, such as reviews."""


def list_keys(question: str, answer: str) -> Iterator[str]:
    """Yield the keys of all that a question may name: its lines, what stands behind a colon, and what is quoted."""
    for line in (*question.splitlines(), answer):
        yield text_key(line)
        for mark in (": ", ". "):
            if mark in line:
                yield text_key(line.partition(mark)[2])
        yield from (text_key(part) for part in line.split('"')[1::2])


def list_said(question: Question) -> Iterator[str]:
    """Yield the keys of what a question is asked about, and of the texts that answer it."""
    answer = question.answer
    for value in question.values.values():
        yield text_key(value)
        yield from (text_key(part) for part in value.split(PART) if PART in value)
    if isinstance(answer, Text):
        yield from map(text_key, (answer.text, *answer.references))
