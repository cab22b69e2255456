"""Amazon-M2: sessions as lists of product ids, a table; titles come from `products_train.csv` beside it."""

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Material, Session
from eshop_ray.schema import Malformed, Row, content_id

PRODUCTS = "products_train.csv"
_ID = re.compile(r"[A-Z0-9]{6,}")
_LANGUAGES = {"UK": "en", "DE": "de", "JP": "ja", "ES": "es", "FR": "fr", "IT": "it"}


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `Session` for each row, the item that came next as its last one.

    Raises:
        UserError: if there is no file of products beside it.
    """
    titles = _read_titles(path)
    for found in read_rows(stream, path):
        yield found if isinstance(found, Malformed) else _read(path, *found, titles, options["language"])


def _read(
    path: str, number: int, row: Row, titles: Mapping[tuple[str, str], str], language: str
) -> Material | Malformed:
    locale = str(row.get("locale") or "")
    ids = _ID.findall(f"{row.get('prev_items') or ''} {row.get('next_item') or ''}")
    known = tuple(title for one in ids if (title := titles.get((one, locale))))
    if len(known) < 2 or len(known) < len(ids):
        return Malformed(path, number, "fewer than two items, or one without a title")
    return Session(id=content_id(*ids), language=_LANGUAGES.get(locale, language), titles=known)


def _read_titles(path: str) -> dict[tuple[str, str], str]:
    """Return (id, locale) -> title."""
    base, question_mark, query = path.partition("?")
    (file, *_) = list_files("", f"{base.rpartition('/')[0]}/{PRODUCTS}{question_mark}{query}")
    with open_bytes(file.path) as stream:
        rows = (found[1] for found in read_rows(stream, file.path) if not isinstance(found, Malformed))
        return {(str(row["id"]), str(row["locale"])): " ".join(str(row["title"]).split()) for row in rows}
