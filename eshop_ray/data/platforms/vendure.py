"""Vendure: a row with a name begins a product, those below it without one are more of its variants."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    name = cells.localized("name", locale, ":")
    if not name:
        yield Part(None, None)
        return
    product_id = cells.localized("slug", locale, ":") or cells.text("sku")
    facets = [facet.partition(":") for facet in cells.localized("facets", locale, ":").split("|")]
    categories = [value.strip() for facet, _, value in facets if facet.strip().lower() == "category"]
    product = build(
        product_id,
        name=name,
        description=cells.localized("description", locale, ":"),
        category=" > ".join(categories),
        brand=next((value.strip() for facet, _, value in facets if facet.strip().lower() == "brand"), ""),
        attributes=to_attributes(
            (facet.strip().capitalize(), value.strip())
            for facet, _, value in facets
            if facet.strip().lower() not in ("category", "brand")
        ),
        price=cells.text("price"),
    )
    yield Part(product_id, product)


PLATFORM = Platform(
    "vendure",
    "Vendure",
    (columns("name", "slug", "facets", "optionvalues"), columns("name:en", "slug", "assets", "optiongroups")),
    _read,
    is_followed=True,
)
