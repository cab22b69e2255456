"""Reviews: eight with their summaries (TSV), or one each with its rating (Amazon Reviews 2023, JSON Lines)."""

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.sources.delimited import Dialect, read_table
from eshop_ray.data.sources.lines import read_objects
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record

RATINGS = ("1", "2", "3", "4", "5")
"""Stars: the labels of rating prediction."""

_LINE_BREAK = re.compile(r"<br\s*/?>")
_REVIEW_COLUMN = re.compile(r"rev\d+")
_SUMMARY_COLUMN = re.compile(r"summ\d+")


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:  # noqa: ARG001
    """Yield `summarization` records of a `.tsv` file, `classification` records of JSON Lines.

    TSV columns: `rev1`, `rev2`, ... and `summ1`, `summ2`, ... (several references). JSON keys: `rating`, `text`,
    optional `title`; the ratings form the group `review_rating`.

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    name = path.partition("?")[0].removesuffix(".gz")
    if name.endswith(".tsv"):
        yield from _read_summaries(stream, path)
    else:
        yield from read_objects(stream, path, ("rating", "text"), _rating)


def _read_summaries(stream: IO[bytes], path: str) -> Iterator[Record | Malformed]:
    for line in read_table(stream, path, Dialect("\t", None)):
        if isinstance(line, Malformed):
            yield line
            continue
        number, row = line
        columns = [column for column in row if _REVIEW_COLUMN.fullmatch(column)]
        references = [column for column in row if _SUMMARY_COLUMN.fullmatch(column)]
        if not columns or not references:
            found = ", ".join(row)
            raise UserError(f"{path}: needs columns rev1, rev2, ... and summ1, summ2, ...; found {found}")
        texts = [clean_text(row[column]) for column in columns if row[column].strip()]
        summaries = [clean_text(row[column]) for column in references if row[column].strip()]
        if texts and summaries:
            yield {"task": "summarization", "reviews": texts, "target": summaries}
        else:
            yield Malformed(path, number, "no review" if not texts else "no summary")


def _rating(path: str, number: int, row: Mapping[str, Any]) -> Record | Malformed:
    rating, title, text = row.get("rating"), row.get("title") or "", row.get("text")
    if isinstance(rating, bool) or rating not in (1, 2, 3, 4, 5):
        return Malformed(path, number, f"`rating` {rating!r} is not one of {', '.join(RATINGS)}")
    if not isinstance(title, str) or not isinstance(text, str) or not (title + text).strip():
        return Malformed(path, number, "`text` is missing or empty")
    parts = [part for part in (clean_text(title), clean_text(text)) if part]
    body = "\n".join(dict.fromkeys(parts))
    return {
        "task": "classification",
        "group": "review_rating",
        "text": body,
        "labels": list(RATINGS),
        "target": str(int(rating)),
    }


def clean_text(text: str) -> str:
    """Turn line breaks, written as HTML or plain, into blanks."""
    return " ".join(_LINE_BREAK.sub(" ", text).split())
