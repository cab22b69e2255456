"""AmaSum: a product a file or a line, with customers' reviews and what professionals sum up."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.json_text import read_json
from eshop_ray.data.instructions.material import Material, ReviewSummary
from eshop_ray.data.sources.required import parse_row
from eshop_ray.data.sources.reviews import clean_text
from eshop_ray.schema import Malformed, Row, content_id

NUM_REVIEWS = 4
"""The most helpful ones are what the summaries are held against."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ReviewSummary` for each product: verdicts, with what speaks for and against it."""
    parse = partial(_read, language=options["language"])
    for found in read_json(stream, path):
        yield found if isinstance(found, Malformed) else parse_row(path, *found, parse)


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    best = sorted(_list_objects(row, "customer_reviews"), key=_count_votes, reverse=True)
    texts = tuple(text for one in best if (text := _clean(one.get("text"))))[:NUM_REVIEWS]
    summaries = tuple(text for one in _list_objects(row, "website_summaries") if (text := _write_summary(one)))
    if not texts or not summaries:
        return Malformed(path, number, "no review" if not texts else "no summary")
    return ReviewSummary(id=content_id(*texts), language=language, reviews=texts, summaries=summaries)


def _list_objects(row: Row, name: str) -> list[Row]:
    given = row.get(name)
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _clean(text: Any) -> str:
    return clean_text(text) if isinstance(text, str) else ""


def _count_votes(review: Row) -> float:
    votes = str(review.get("helpful_votes") or 0).replace(",", "")
    return float(votes) if votes.replace(".", "", 1).isdigit() else 0.0


def _write_summary(summary: Row) -> str:
    """Return a verdict in sentences, with what speaks for and against the product."""
    parts = [_clean(summary.get("verdict"))]
    for name in ("pros", "cons"):
        given = summary.get(name)
        points = list(filter(None, map(_clean, given if isinstance(given, list) else [given])))
        parts += [f"{name.capitalize()}: {'; '.join(points)}"] if points else []
    return " ".join(part for part in parts if part)
