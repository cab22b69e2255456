"""Shopify's export of products, with the headers of either generation.

The handle groups rows: the first holds the product, those below it more variants and images.
"""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes
from eshop_ray.schema import Row

_METAFIELD = " (product.metafields."


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    handle = cells.text("handle", "url handle")
    name = cells.text("title")
    if not name:
        yield Part(handle, None)
        return
    metafields = ((column.partition(_METAFIELD)[0].capitalize(), cells.text(column)) for column in cells)
    product = build(
        handle,
        name=name,
        description=cells.text("body (html)", "body html", "description"),
        category=cells.text("product category", "standardized product type", "type", "custom product type"),
        brand=cells.text("vendor"),
        tags=cells.text("tags"),
        attributes=to_attributes(pair for pair, column in zip(metafields, cells, strict=True) if _METAFIELD in column),
        price=cells.text("variant price", "price"),
    )
    yield Part(handle, product)


PLATFORM = Platform(
    "shopify",
    "Shopify",
    (columns("handle", "title", "body (html)"), columns("title", "url handle", "vendor")),
    _read,
    is_followed=True,
)
