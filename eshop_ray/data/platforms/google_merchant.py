"""Feeds for Google Merchant Center: a table, RSS or Atom, an item per variant; variants of a group are one product.

The requests of the Content API hold the same with other names.
"""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import (
    DANGLING,
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

_OPTIONS = ("color", "size")
_ATTRIBUTES = ("color", "material", "pattern", "gender", "age_group")


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    group = cells.text("item_group_id", "item group id", "itemgroupid")
    product_id = group or cells.text("id", "offerid")
    name = cells.text("title")
    category = cells.text("product_type", "product type", "producttypes", "producttype")
    if not category:
        category = cells.text("google_product_category", "google product category", "googleproductcategory")
    product = build(
        product_id,
        name=_strip_options(name, [cells.text(option) for option in _OPTIONS]) if group else name,
        description=cells.text("description", "summary", "content"),
        category=to_path(category, ">"),
        brand=cells.text("brand"),
        attributes=to_attributes([*((name.capitalize(), cells.text(name)) for name in _ATTRIBUTES), *_details(cells)]),
        price=cells.text("price"),
        updated_at=cells.text("updated"),
    )
    yield Part(product_id, product)


def _strip_options(name: str, values: list[str]) -> str:
    """Return a variant's name without what tells it from the others, such as ` - Sand, S` at its end."""
    stripped = name
    while found := next((value for value in values if value and stripped.lower().endswith(value.lower())), None):
        stripped = stripped[: -len(found)].rstrip(DANGLING)
    return stripped or name


def _details(cells: Cells) -> Iterator[tuple[str, str]]:
    """Yield names and values of `product_detail`: objects in XML, `Section:Name:Value` in a table."""
    details = cells.get("product_detail") or cells.get("product detail") or cells.get("productdetails")
    if isinstance(details, str):
        for part in details.split(","):
            section, _, rest = part.partition(":")
            name, _, value = rest.partition(":")
            yield name if value else section, value or name
        return
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            name = to_text(detail.get("attribute_name") or detail.get("attributeName"))
            yield name, ", ".join(to_texts(detail.get("attribute_value") or detail.get("attributeValue")))


PLATFORM = Platform(
    "google_merchant",
    "Google Merchant Center",
    (
        columns("id", "title", "link", "image_link", "availability"),
        columns("id", "title", "link", "image link", "availability"),
        columns("offerid", "title", "link"),
    ),
    _read,
)
