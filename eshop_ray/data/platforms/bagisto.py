"""Bagisto's tables, in CSV, XML or XLSX: a product a row; variants name theirs as `parent_sku`."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_path
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    sku, parent = cells.text("sku"), cells.text("parent_sku")
    if parent or (locale is not None and cells.text("locale") not in ("", locale)):
        yield Part(parent or sku, None)
        return
    product = build(
        sku,
        name=cells.text("name"),
        description=cells.text("description", "short_description"),
        category=to_path(cells.text("categories").partition(",")[0], "/"),
        tags=cells.text("meta_keywords"),
        price=cells.text("price"),
    )
    yield Part(sku, product)


PLATFORM = Platform("bagisto", "Bagisto", (columns("sku", "parent_sku", "attribute_family_code", "url_key"),), _read)
