"""ESCI's judged pairs of query and product: one file with titles, or as published, judgements and products apart."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Judgement, Material, ProductTitle, fold
from eshop_ray.data.sources.esci import COLUMNS, read_judgement, read_label
from eshop_ray.data.sources.required import require_columns
from eshop_ray.schema import Malformed, Row, content_id

_LANGUAGES = {"us": "en", "es": "es", "jp": "ja"}
"""`product_locale` -> language."""
Where = Mapping[str, Sequence[str]]


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `Judgement` for each judged pair, a `ProductTitle` for each row of a file of products.

    A judgement that has the id of its product only gets its title from the latter (`joining`).

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: `language`, and `where`: column -> values, for files of which only some rows are to be trusted.

    Raises:
        UserError: if it is a file of judgements that lacks a column.
    """
    parse = partial(_read, language=options["language"], where=options.get("where", {}))
    rows = read_rows(stream, path)
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first, tuple) and "query" in first[1] and "product_title" not in first[1]:
        needed: Sequence[str] = ("query", "product_id", "esci_label")
    else:
        needed = COLUMNS if isinstance(first, Malformed) or "query" in first[1] else ("product_id", "product_title")
    yield from require_columns(_put_back(first, rows), path, needed, parse)


def _put_back(first: tuple[int, Row] | Malformed, rows: Iterator[tuple[int, Row] | Malformed]) -> Iterator[Any]:
    yield first
    yield from rows


def _read(path: str, number: int, row: Row, language: str, where: Where) -> Material | Malformed:
    unwanted = next((column for column, values in where.items() if row.get(column) not in values), None)
    locale = str(row.get("product_locale") or "")
    language, product_id = _LANGUAGES.get(locale, language), f"{locale}/{row.get('product_id')}"
    if "query" not in row:
        title = " ".join(str(row.get("product_title") or "").split())
        sound = ProductTitle(id=product_id, language=language, title=title)
        return sound if title else Malformed(path, number, "`product_title` is empty")
    if unwanted:
        return Malformed(path, number, f"left out by `where`: its `{unwanted}` is {str(row.get(unwanted))[:60]!r}")
    if "product_title" not in row:
        return _read_example(path, number, row, language, product_id)
    found = read_judgement(path, number, row)
    if isinstance(found, Malformed):
        return found
    query, title, label = found
    return Judgement(id=content_id(fold(query), fold(title)), language=language, query=query, title=title, label=label)


def _read_example(path: str, number: int, row: Row, language: str, product_id: str) -> Material | Malformed:
    """Return a judgement without its product's title."""
    query, label = " ".join(str(row.get("query") or "").split()), read_label(row.get("esci_label"))
    if not query or label is None or not row.get("product_id"):
        return Malformed(path, number, "`query`, `product_id` or `esci_label` is missing or none of E, S, C, I")
    row_id = content_id(fold(query), product_id)
    return Judgement(id=row_id, language=language, query=query, label=label, product_id=product_id)
