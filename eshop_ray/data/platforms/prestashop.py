"""PrestaShop's tables for import: products, and combinations, which are variants."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells({str(name).replace("*", "").strip(): value for name, value in row.items()})
    product_id = cells.text("product id", "id")
    if "name" not in cells:
        yield Part(product_id, None)
        return
    # `Home,Clothing,Shirts`: a path, from the outermost on.
    categories = [name.strip() for name in cells.text("categories (x,y,z...)").split(",")]
    features = (part.split(":") for part in cells.text("feature(name:value:position)").split(","))
    product = build(
        product_id,
        name=cells.text("name"),
        description=cells.text("description", "summary"),
        category=" > ".join(name for name in categories if name and name.lower() != "home"),
        brand=cells.text("manufacturer", "brand"),
        tags=cells.text("tags (x,y,z...)"),
        attributes=to_attributes((part[0].strip(), part[1].strip()) for part in features if len(part) > 1),
        price=cells.text("price tax included", "price tax excluded"),
    )
    yield Part(product_id, product)


PLATFORM = Platform(
    "prestashop",
    "PrestaShop",
    (
        columns("product id", "name *", "categories (x,y,z...)"),
        columns("id", "name *", "categories (x,y,z...)"),
        columns("product id*", "attribute (name:type:position)*"),
    ),
    _read,
)
