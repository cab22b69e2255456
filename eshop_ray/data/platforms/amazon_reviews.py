"""Item metadata of Amazon Reviews 2023: JSON Lines with lists of paragraphs, features and categories."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_text, to_texts
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    product_id = cells.text("parent_asin", "asin")
    paragraphs = [*to_texts(cells.get("description")), *to_texts(cells.get("features"))]
    details = cells.get("details")
    product = build(
        product_id,
        name=cells.text("title"),
        description="\n".join(dict.fromkeys(paragraphs)),
        category=" > ".join(to_texts(cells.get("categories"))) or cells.text("main_category"),
        brand=cells.text("store"),
        attributes=to_attributes(
            (str(name), to_text(value)) for name, value in (details if isinstance(details, dict) else {}).items()
        ),
        price=cells.text("price"),
    )
    yield Part(product_id, product)


PLATFORM = Platform("amazon_reviews", "Amazon Reviews 2023", (columns("parent_asin", "main_category", "title"),), _read)
