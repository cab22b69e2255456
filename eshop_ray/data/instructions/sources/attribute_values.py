"""OA-Mine and AE-110K: titles with the values of their attributes, JSON Lines."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.instructions.material import Material, TaggedText, fold
from eshop_ray.data.sources.required import read_objects
from eshop_ray.schema import Malformed, Row, content_id

NOTHING = "n/a"
"""How the sets write that a title does not say the value."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `TaggedText` for each title; values that do not stand in it are left out.

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    yield from read_objects(stream, path, ("input", "target_scores"), partial(_read, language=options["language"]))


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    text, scores = row.get("input"), row.get("target_scores")
    if not isinstance(text, str) or not text.strip() or not isinstance(scores, dict):
        return Malformed(path, number, "`input` or `target_scores` is missing")
    if strange := next((name for name, values in scores.items() if not _is_list(values)), None):
        return Malformed(path, number, f"the values of `{strange[:60]}` are no list of texts")
    spans = {
        name: tuple(value for value in values if value.strip() and fold(value) in fold(text) and value != NOTHING)
        for name, values in scores.items()
    }
    spans = {name: values for name, values in spans.items() if values}
    if not spans:
        return Malformed(path, number, "no value of an attribute stands in the title")
    given = row.get("category")
    category = given if isinstance(given, str) else ""
    return TaggedText(id=content_id(text), language=language, text=text, spans=spans, category=category)


def _is_list(values: Any) -> bool:
    """Whether these are values of an attribute, each with its score or alone."""
    return isinstance(values, dict | list) and all(isinstance(value, str) for value in values)
