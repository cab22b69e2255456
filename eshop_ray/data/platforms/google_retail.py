"""Catalogues as Google's retail services take them: JSON Lines with lists of categories and brands."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import (
    Cells,
    Part,
    Platform,
    build,
    columns,
    to_attributes,
    to_path,
    to_text,
    to_texts,
)
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    is_variant = cells.text("type").upper() == "VARIANT"
    product_id = cells.text("id")
    if is_variant:
        yield Part(cells.text("primaryproductid"), None)
        return
    attributes = cells.get("attributes")
    if isinstance(attributes, dict):
        attributes = [{"key": key, "value": value} for key, value in attributes.items()]
    pairs = (
        (to_text(one.get("key")).capitalize(), ", ".join(to_texts((one.get("value") or {}).get("text"))))
        for one in attributes or []
        if isinstance(one, dict) and isinstance(one.get("value"), dict)
    )
    product = build(
        product_id,
        name=cells.text("title"),
        description=cells.text("description"),
        category=to_path(cells.text("categories"), ">"),
        brand=cells.text("brands"),
        tags=", ".join(to_texts(cells.get("tags"))),
        attributes=to_attributes(pairs),
    )
    yield Part(product_id, product)


PLATFORM = Platform(
    "google_retail",
    "Google's retail catalogue",
    (columns("id", "title", "categories", "brands"), columns("id", "title", "categories", "priceinfo")),
    _read,
)
