"""ESCI's judged pairs of query and product: one file with titles, or as published, judgements and products apart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from pydantic import ValidationError, field_validator

from eshop_ray.config.base import Section
from eshop_ray.config.loading import explain_errors
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Judgement, LeftOut, Material, ProductTitle, fold
from eshop_ray.data.sources.esci import COLUMNS, read_judgement, read_label
from eshop_ray.data.sources.required import require_columns, to_line
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, content_id

_LANGUAGES = {"us": "en", "es": "es", "jp": "ja"}
"""`product_locale` -> language."""
Where = Mapping[str, Sequence[str]]


class SourceOptions(Section):
    """What a source of judgements may say."""

    where: dict[str, tuple[str, ...]] = {}
    """Column -> values, one or a list, for files of which only some rows are to be trusted."""

    @field_validator("where", mode="before")
    @classmethod
    def _read_where(cls, where: Any) -> Any:
        if not isinstance(where, dict):
            return where
        listed = {column: values if isinstance(values, list | tuple) else [values] for column, values in where.items()}
        return {column: tuple(map(_to_text, values)) for column, values in listed.items()}


def _to_text(value: Any) -> str:
    """Return a value as it is compared: tables have texts for all of them, and Parquet 1.0 for 1 beside nulls."""
    whole = isinstance(value, float) and value.is_integer()
    return "" if value is None else fold(str(int(value) if whole else value))


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | LeftOut | Malformed]:
    """Yield a `Judgement` for each judged pair, a `ProductTitle` for each row of a file of products.

    A judgement that has the id of its product only gets its title from the latter (`joining`).

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: The fields of `SourceOptions`, and `language`.

    Raises:
        UserError: if it is a file of judgements that lacks a column, or the options are wrong.
    """
    try:
        where = SourceOptions.model_validate({key: value for key, value in options.items() if key != "language"}).where
    except ValidationError as error:
        raise UserError(f"esci source: {explain_errors(error, SourceOptions)}") from error

    def parse(path: str, number: int, row: Row) -> Material | LeftOut | Malformed:
        return _read(path, number, row, options["language"], where)

    rows = read_rows(stream, path)
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first, tuple) and "query" in first[1] and "product_title" not in first[1]:
        needed: Sequence[str] = ("query", "product_id", "esci_label", *where)
    elif isinstance(first, Malformed) or "query" in first[1]:
        needed = (*COLUMNS, *where)
    else:
        needed = ("product_id", "product_title")
    found: Iterator[Material | LeftOut | Malformed] = require_columns(_put_back(first, rows), path, needed, parse)
    yield from found


def _put_back(first: tuple[int, Row] | Malformed, rows: Iterator[tuple[int, Row] | Malformed]) -> Iterator[Any]:
    yield first
    yield from rows


def _read(path: str, number: int, row: Row, language: str, where: Where) -> Material | LeftOut | Malformed:
    unwanted = next((column for column, values in where.items() if _to_text(row.get(column)) not in values), None)
    locale = str(row.get("product_locale") or "")
    language, product_id = _LANGUAGES.get(locale, language), f"{locale}/{row.get('product_id')}"
    if "query" not in row:
        title = to_line(row.get("product_title"))
        sound = ProductTitle(id=product_id, language=language, title=title)
        return sound if title else Malformed(path, number, "`product_title` is empty")
    if unwanted:
        found = str(row.get(unwanted))[:60]
        return LeftOut(reason="not what `where` asks for", text=f"{row['query']} ({unwanted}: {found})")
    if "product_title" not in row:
        return _read_example(path, number, row, language, product_id)
    judged = read_judgement(path, number, row)
    if isinstance(judged, Malformed):
        return judged
    query, title, label = judged
    return Judgement(id=content_id(fold(query), fold(title)), language=language, query=query, title=title, label=label)


def _read_example(path: str, number: int, row: Row, language: str, product_id: str) -> Material | Malformed:
    """Return a judgement without its product's title."""
    query, label = to_line(row.get("query")), read_label(row.get("esci_label"))
    if not query or label is None or not row.get("product_id"):
        return Malformed(path, number, "`query`, `product_id` or `esci_label` is missing or none of E, S, C, I")
    row_id = content_id(fold(query), product_id)
    return Judgement(id=row_id, language=language, query=query, label=label, product_id=product_id)
