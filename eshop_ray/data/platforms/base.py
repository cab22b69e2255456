"""What a shop system's export means: which rows are products, and which of their columns is what."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eshop_ray.schema import Row

STANDARD = ("id", "name", "description", "category", "brand", "tags", "attributes", "price", "updated_at")
"""Columns that a platform gives a product, as far as its export knows them; `category` is written `A > B > C`."""

DANGLING = " \t-\u2013\u2014,;:/|(["
"""What is left over at the end of a name when its last words are taken away."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one row of an export says of one product."""

    key: str | None
    """Which product; rows of one that follow each other are one product."""
    product: Row | None
    """Columns of `STANDARD`; None: a variant, a translation or an image, that is not a product of its own."""


@dataclass(frozen=True, slots=True)
class Platform:
    """One shop system."""

    name: str
    """As `catalog.format` writes it."""
    title: str
    """As people write it."""
    signatures: tuple[frozenset[str], ...]
    """Columns, in lower case, by which an export is recognised: all of one of these."""
    read: Callable[[Row, str | None], Iterable[Part]]
    """(row, locale) -> what it says."""
    is_followed: bool = False
    """Whether a row without a product belongs to the product above it, and to none if there is no such product."""
    records: str | None = None
    """Where the rows are in its documents, if not under a usual name."""
    join: Callable[[Iterator[Any]], Iterator[Any]] | None = None
    """Puts rows of several kinds together, for exports that are dumps of a database."""

    def recognises(self, columns: Iterable[str]) -> bool:
        """Whether an export has these columns."""
        names = {column.lower() for column in columns}
        return any(signature <= names for signature in self.signatures)


def columns(*names: str) -> frozenset[str]:
    """Return a signature."""
    return frozenset(name.lower() for name in names)


class Cells(dict[str, Any]):
    """A row whose columns are found whatever their case, and whose values come as bare text."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__({str(name).lower().strip(): value for name, value in row.items()})

    def text(self, *names: str) -> str:
        """Return the first of these columns that has text, empty if none has."""
        for name in names:
            value = to_text(self.get(name.lower()))
            if value:
                return value
        return ""

    def localized(self, name: str, locale: str | None, separator: str, *endings: str) -> str:
        """Return the text of `NAME SEPARATOR LOCALE`, of the first locale that has one if none is asked for."""
        start = f"{name}{separator}".lower()
        if locale is not None:
            return self.text(*(f"{start}{locale}{ending}" for ending in ("", *endings)), name)
        return self.text(name, *(column for column in self if column.startswith(start)))


def to_text(value: Any) -> str:
    """Return a value as text: of a list its first entry that has one, of an object its name or value."""
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, list | tuple):
        return next((text for one in value if (text := to_text(one))), "")
    if isinstance(value, dict):
        names = ("name", "value", "@value", "text", "data", "label")
        return next((text for name in names if (text := to_text(value.get(name)))), "")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def to_texts(value: Any) -> list[str]:
    """Return the texts of a list, or the one text of anything else."""
    values = value if isinstance(value, list | tuple) else [value]
    return [text for one in values if (text := to_text(one))]


def to_path(text: str, separator: str) -> str:
    """Return a category's path as it is written here, `A > B > C`."""
    return " > ".join(part for name in text.split(separator) if (part := name.strip()))


def to_attributes(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values a pair a line."""
    return "\n".join(f"{name}: {value}" for name, value in pairs if name and value)


def build(product_id: str, **values: str) -> Row:
    """Return a product of the columns that have text."""
    return {"id": product_id or None, **{name: text for name, text in values.items() if text}}
