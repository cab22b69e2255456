"""Product matching: two offers and whether they are one product; `COL name VAL value ... TAB ... TAB 0 or 1` a line."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.json_text import read_lines
from eshop_ray.data.instructions.material import Material, OfferPair
from eshop_ray.data.sources.required import parse_row
from eshop_ray.schema import Malformed, content_id

_COLUMN = re.compile(r"COL (\S+) VAL ")
_TITLES = ("name", "title")
_SHOWN = ("brand", "manufacturer", "modelno", "price")
"""Columns that are told beside the title; descriptions repeat it in most sets."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield an `OfferPair` for each line."""
    parse = partial(_read_pair, language=options["language"])
    for line in read_lines(stream, path):
        if isinstance(line, Malformed):
            yield line
        elif line[1].strip():
            yield parse_row(path, *line, parse)


def _read_pair(path: str, number: int, text: str, language: str) -> Material | Malformed:
    parts = text.rstrip("\r\n").split("\t")
    if len(parts) != 3 or parts[2].strip() not in ("0", "1"):
        return Malformed(path, number, f"expected `offer TAB offer TAB 0 or 1`, found {len(parts)} parts")
    first, second = (_read_offer(part) for part in parts[:2])
    if not first or not second:
        return Malformed(path, number, "an offer without a name")
    is_same = parts[2].strip() == "1"
    return OfferPair(id=content_id(first, second), language=language, first=first, second=second, is_same=is_same)


def _read_offer(text: str) -> str:
    """Return an offer in words, empty where it has no title."""
    _, *found = _COLUMN.split(text)
    columns = {name: " ".join(value.split()) for name, value in zip(found[::2], found[1::2], strict=True)}
    title = next((columns[name] for name in _TITLES if columns.get(name)), "")
    told = [f"{name}: {columns[name]}" for name in _SHOWN if columns.get(name)]
    return "; ".join([title, *told]) if title else ""
