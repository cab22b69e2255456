"""Rows that are instructions already, taken apart into lines: their options and answers must survive what is mended."""

from typing import Any

from eshop_ray.data.instructions.material import fold
from eshop_ray.schema import Row
from eshop_ray.tasks.heads import read_options

FIELDS = ("prompt", "target", "about")
"""Of an `Instruction`, the fields that are cleaned."""


def split_lines(values: Row) -> Row:
    """Return the fields of an instruction with the lines of each text apart; an option is a line."""
    return {**values, **{name: _split(values[name]) for name in ("prompt", "target")}}


def join_lines(values: Row, cleaned: Row) -> Row | None:
    """Return an instruction whose lines have been cleaned; None where its options or its answer would be lost by it.

    Args:
        values: Its fields as they were.
        cleaned: Those of `split_lines`, cleaned.
    """
    lines = split_lines(values)
    joined = {**values, "about": cleaned["about"]}
    for name in ("prompt", "target"):
        joined[name] = _join(values[name], lines[name], cleaned[name])
    is_whole = _count_options(joined["prompt"]) == _count_options(values["prompt"])
    return joined if is_whole and (_is_quoted(joined) or not _is_quoted(values)) else None


def _split(value: Any) -> Any:
    return value.split("\n") if isinstance(value, str) else value


def _join(value: Any, lines: Any, cleaned: Any) -> Any:
    """Return a text of its cleaned lines; one that differs in blanks only stays as it was, as layout may be in it."""
    if not isinstance(value, str):
        return cleaned
    pairs = ((line, found.split()) for line, found in zip(lines, cleaned, strict=True))
    return "\n".join(line if found == line.split() else " ".join(found) for line, found in pairs)


def _count_options(prompt: str) -> int:
    """Return how many options a question has that can be told apart."""
    found = read_options(prompt)
    return len(set(map(fold, found.candidates))) if found else 0


def _is_quoted(values: Row) -> bool:
    """Whether all texts of the answer stand in the question."""
    target, prompt = values["target"], fold(values["prompt"])
    texts = target if isinstance(target, list) else [target]
    return all(isinstance(text, str) and fold(text) in prompt for text in texts)
