"""Akeneo: exports of products and of product models, and answers of its interface.

Variants name their model as `parent`, and are no products of their own: the models are, which stand in a file apart.
"""

from collections.abc import Iterator
from typing import Any

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_text, to_texts
from eshop_ray.schema import Row

_NO_ATTRIBUTES = ("name", "description", "brand", "image", "price", "ean", "gtin", "weight", "picture")


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    code = cells.text("sku", "identifier", "code", "uuid")
    parent = cells.text("parent")
    if parent:
        yield Part(parent, None)
        return
    values = cells.get("values")
    yield Part(
        code,
        _from_interface(cells, code, values, locale) if isinstance(values, dict) else _from_table(cells, code, locale),
    )


def _from_table(cells: Cells, code: str, locale: str | None) -> Row:
    return build(
        code,
        name=cells.localized("name", locale, "-") or cells.localized("label", locale, "-"),
        description=_described(cells, locale),
        category=cells.text("categories").partition(",")[0],
        brand=cells.text("brand"),
        attributes=to_attributes((name.capitalize(), cells.text(name)) for name in ("color", "size", "material")),
    )


def _described(cells: Cells, locale: str | None) -> str:
    if locale is None:
        return cells.localized("description", None, "-")
    start = f"description-{locale}".lower()
    return cells.text(*(column for column in cells if column.startswith(start)), "description")


def _from_interface(cells: Cells, code: str, values: dict[str, Any], locale: str | None) -> Row:
    texts = {name: _pick(entries, locale) for name, entries in values.items()}
    return build(
        code,
        name=texts.get("name", "") or texts.get("label", ""),
        description=texts.get("description", ""),
        category=to_text(cells.get("categories")),
        brand=texts.get("brand", ""),
        attributes=to_attributes(
            (name.replace("_", " ").capitalize(), text) for name, text in texts.items() if name not in _NO_ATTRIBUTES
        ),
        updated_at=cells.text("updated"),
    )


def _pick(entries: Any, locale: str | None) -> str:
    """Return the text of a value for a locale, or of the first that has one."""
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    wanted = [entry for entry in found if locale is not None and entry.get("locale") == locale]
    return next((text for entry in wanted or found if (text := ", ".join(to_texts(entry.get("data"))))), "")


PLATFORM = Platform(
    "akeneo",
    "Akeneo",
    (
        columns("sku", "family", "categories", "enabled", "groups"),
        columns("code", "family_variant", "categories"),
        columns("family", "categories", "values", "enabled"),
    ),
    _read,
)
