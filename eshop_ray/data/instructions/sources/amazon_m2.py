"""Amazon-M2: sessions as lists of product ids, a table; titles come from `products_train.csv` beside it."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Material, Session
from eshop_ray.data.instructions.sources.beside import find_beside, read_beside
from eshop_ray.data.sources.required import parse_row, to_line
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.schema import Malformed, Row, content_id

PRODUCTS = "products_train.csv"
_ID = re.compile(r"[A-Z0-9]{6,}")
_LANGUAGES = {"UK": "en", "DE": "de", "JP": "ja", "ES": "es", "FR": "fr", "IT": "it"}


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `Session` for each row, the item that came next as its last one.

    Raises:
        UserError: if there is no file of products beside it.
    """
    if find_beside(path, PRODUCTS) is None:
        raise UserError(f"{show(path)}: there is no `{PRODUCTS}` beside it, which has the titles; put it there")
    titles: dict[tuple[str, str], str] = {}
    yield from read_beside(path, PRODUCTS, _read_title, titles)
    parse = partial(_read, titles=titles, language=options["language"])
    for found in read_rows(stream, path):
        yield found if isinstance(found, Malformed) else parse_row(path, *found, parse)


def _read(
    path: str, number: int, row: Row, titles: Mapping[tuple[str, str], str], language: str
) -> Material | Malformed:
    locale = str(row.get("locale") or "")
    ids = _ID.findall(f"{row.get('prev_items') or ''} {row.get('next_item') or ''}")
    known = tuple(title for one in ids if (title := titles.get((one, locale))))
    if len(known) < 2 or len(known) < len(ids):
        return Malformed(path, number, "fewer than two items, or one without a title")
    return Session(id=content_id(*ids), language=_LANGUAGES.get(locale, language), titles=known)


def _read_title(path: str, number: int, row: Row) -> tuple[tuple[str, str], str] | Malformed:
    title = to_line(row.get("title"))
    if not title:
        return Malformed(path, number, "`title` is missing or empty")
    return (str(row["id"]), str(row["locale"])), title
