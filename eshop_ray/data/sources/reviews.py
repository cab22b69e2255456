"""Reviews: eight with their summaries (a table), or one each with its rating (Amazon Reviews 2023, or any table)."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from pydantic import ValidationError

from eshop_ray.config.files import FileOptions
from eshop_ray.config.loading import explain_errors
from eshop_ray.data.formats.delimited import read_table
from eshop_ray.data.formats.encodings import as_buffered
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.products import look_up
from eshop_ray.data.sources.required import explain_lack, require_columns
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record, Row

RATINGS = ("1", "2", "3", "4", "5")
"""Stars: the labels of rating prediction."""

_REVIEW_COLUMN = re.compile(r"rev\d+")
_SUMMARY_COLUMN = re.compile(r"summ\d+")
_SUMMARIES = re.compile(rb"[^\n]*\brev1\t[^\n]*\bsumm1\b")
"""Header of a table of reviews with their summaries."""
_PEEKED = 4096


class SourceOptions(FileOptions):
    """What `data.sources` may say about reviews."""

    columns: dict[str, str] = {}
    """The file's own names of `rating`, `title` and `text`."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:
    """Yield `summarization` records of a table with summaries, `classification` records of any other file.

    Columns of a table with summaries: `rev1`, `rev2`, ... and `summ1`, `summ2`, ... (several references), separated by
    tabs, quotes being text. Columns of others: `rating`, `text`, optional `title`; the ratings form the group
    `review_rating`.

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    try:
        settings = SourceOptions.model_validate(dict(options))
    except ValidationError as error:
        raise UserError(f"reviews source: {explain_errors(error, SourceOptions)}") from error
    buffered = as_buffered(stream)
    if _SUMMARIES.match(buffered.peek(_PEEKED)[:_PEEKED]):
        yield from _read_summaries(buffered, path)
        return
    columns = {name: settings.columns.get(name, name) for name in ("rating", "title", "text")}

    def parse(path: str, number: int, row: Row) -> Record | Malformed:
        return _rating(path, number, {name: look_up(row, column) for name, column in columns.items()})

    rows = read_rows(buffered, path, settings.file_options())
    remedy = "name the file's own columns in `options.columns`, e.g. {text: body}"
    explain = partial(explain_lack, path, remedy=remedy)
    yield from require_columns(rows, path, (columns["rating"], columns["text"]), parse, explain)


def _read_summaries(stream: IO[bytes], path: str) -> Iterator[Record | Malformed]:
    for line in read_table(stream, path, FileOptions(delimiter="\t", quote="")):
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
    rating, title, text = read_rating(row["rating"]), row["title"] or "", row["text"] or ""
    if rating is None:
        return Malformed(path, number, f"`rating` {str(row['rating'])[:60]!r} is not one of {', '.join(RATINGS)}")
    if not isinstance(title, str) or not isinstance(text, str) or not (title + text).strip():
        return Malformed(path, number, "`text` is missing or empty")
    parts = [part for part in (clean_text(title), clean_text(text)) if part]
    body = "\n".join(dict.fromkeys(parts))
    return {
        "task": "classification",
        "group": "review_rating",
        "text": body,
        "labels": list(RATINGS),
        "target": rating,
    }


def read_rating(value: Any) -> str | None:
    """Return one of `RATINGS`, which tables write as text: `5`, `5.0`."""
    if isinstance(value, bool):
        return None
    text = str(value).strip().removesuffix(".0")
    return text if text in RATINGS else None


def clean_text(text: str) -> str:
    """Return a text without markup, on one line."""
    return " ".join(to_plain_text(text).split())
