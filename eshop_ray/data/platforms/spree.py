"""Spree: rows of one slug, the first of which holds the product; tables of translations name a locale."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_path
from eshop_ray.schema import Row

_FIELD = "custom_field."


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    slug = cells.text("slug")
    name = cells.text("name")
    if not name or ("locale" in cells and cells.text("locale") != locale):
        yield Part(slug, None)
        return
    fields = ((column.rpartition(".")[2], cells.text(column)) for column in cells if column.startswith(_FIELD))
    product = build(
        slug,
        name=name,
        description=cells.text("description"),
        category=to_path(cells.text("category1", "product_type"), "->"),
        brand=cells.text("brand_name", "vendor_name"),
        tags=cells.text("tags"),
        attributes=to_attributes((field.replace("_", " ").capitalize(), value) for field, value in fields),
        price=cells.text("price"),
    )
    yield Part(slug, product)


PLATFORM = Platform(
    "spree",
    "Spree",
    (columns("slug", "sku", "name", "category1"), columns("slug", "locale", "name", "description", "meta_title")),
    _read,
)
