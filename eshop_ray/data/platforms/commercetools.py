"""commercetools: a row with variant 1 is a product, those below it are more of its variants."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_path
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    name = cells.localized("name", locale, ".")
    if cells.text("variantid") not in ("1", "") or not name:
        yield Part(None, None)
        return
    product_id = cells.text("key", "id", "baseid", "sku")
    product = build(
        product_id,
        name=name,
        description=cells.localized("description", locale, "."),
        category=to_path(cells.text("categories").partition(";")[0], ">"),
        brand=cells.text("brand", "designer"),
        attributes=to_attributes(
            (field.capitalize(), cells.text(field)) for field in ("color", "style", "gender", "season")
        ),
    )
    yield Part(product_id, product)


PLATFORM = Platform(
    "commercetools",
    "commercetools",
    (columns("producttype", "variantid", "sku", "categories"),),
    _read,
    is_followed=True,
)
