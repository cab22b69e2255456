"""Medusa: a row per variant, each with its whole product."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    product_id = cells.text("product id", "product handle")
    tags = [cells.text(column) for column in cells if column.startswith("product tag")]
    product = build(
        product_id,
        name=cells.text("product title"),
        description=cells.text("product description", "product subtitle").replace("\\n", "\n"),
        category=cells.text("product category 1", "product type", "product collection title", "product type id"),
        tags=", ".join(tag for tag in tags if tag),
        attributes=to_attributes([("Material", cells.text("product material"))]),
        updated_at=cells.text("product updated at"),
    )
    yield Part(product_id, product)


PLATFORM = Platform("medusa", "Medusa", (columns("product handle", "product title", "variant title"),), _read)
