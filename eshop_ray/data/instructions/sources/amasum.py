"""AmaSum: a product a file or a line, with customers' reviews and what professionals sum up."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.formats.json_text import read_json
from eshop_ray.data.instructions.material import Material, ReviewSummary
from eshop_ray.data.sources.reviews import clean_text
from eshop_ray.schema import Malformed, Row, content_id

NUM_REVIEWS = 4
"""The most helpful ones are what the summaries are held against."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `ReviewSummary` for each product: verdicts, with what speaks for and against it."""
    for found in read_json(stream, path):
        yield found if isinstance(found, Malformed) else _read(path, *found, options["language"])


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    given = row.get("customer_reviews")
    reviews = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    best = sorted(reviews, key=_count_votes, reverse=True)
    texts = tuple(text for one in best if (text := clean_text(str(one.get("text") or ""))))[:NUM_REVIEWS]
    sums = row.get("website_summaries")
    written = [one for one in sums if isinstance(one, dict)] if isinstance(sums, list) else []
    summaries = tuple(text for one in written if (text := _write_summary(one)))
    if not texts or not summaries:
        return Malformed(path, number, "no review" if not texts else "no summary")
    return ReviewSummary(id=content_id(*texts), language=language, reviews=texts, summaries=summaries)


def _count_votes(review: Row) -> float:
    votes = str(review.get("helpful_votes") or 0).replace(",", "")
    return float(votes) if votes.replace(".", "", 1).isdigit() else 0.0


def _write_summary(summary: Row) -> str:
    """Return a verdict in sentences, with what speaks for and against the product."""
    parts = [clean_text(str(summary.get("verdict") or ""))]
    for name in ("pros", "cons"):
        points = [clean_text(point) for point in summary.get(name) or () if isinstance(point, str)]
        parts += [f"{name.capitalize()}: {'; '.join(points)}"] if points else []
    return " ".join(part for part in parts if part)
