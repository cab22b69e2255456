"""Products as web pages describe them to search engines, in the words of schema.org."""

from collections.abc import Iterator
from typing import Any

from eshop_ray.data.platforms.base import Part, Platform, build, columns, to_attributes, to_text, to_texts
from eshop_ray.schema import Row

_PRODUCTS = frozenset(
    (
        "Product",
        "ProductGroup",
        "IndividualProduct",
        "ProductModel",
        "ProductCollection",
        "SomeProducts",
        "Vehicle",
        "Car",
    )
)
_WITHIN = ("@graph", "mainEntity", "itemListElement", "item", "hasPart")
_MAX_DEPTH = 8


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    things = list(_walk(row, 0))
    trail = next((_breadcrumbs(thing) for thing in things if "BreadcrumbList" in _types(thing)), "")
    for thing in things:
        if not _types(thing) & _PRODUCTS:
            continue
        product_id = next((text for name in _IDS if (text := to_text(thing.get(name)))), "")
        group = to_text(thing.get("inProductGroupWithID")) or _group_of(thing.get("isVariantOf"))
        yield Part(group or product_id, None if group and group != product_id else _product(thing, product_id, trail))


_IDS = (
    "productGroupID",
    "sku",
    "productID",
    "mpn",
    "gtin13",
    "gtin",
    "gtin12",
    "gtin14",
    "gtin8",
    "@id",
    "url",
    "name",
)


def _product(thing: Row, product_id: str, trail: str) -> Row:
    properties = thing.get("additionalProperty")
    listed = properties if isinstance(properties, list) else [properties]
    pairs = (
        (to_text(one.get("name")), ", ".join(to_texts(one.get("value")))) for one in listed if isinstance(one, dict)
    )
    plain = ((name.capitalize(), ", ".join(to_texts(thing.get(name)))) for name in ("color", "material", "size"))
    return build(
        product_id,
        name=to_text(thing.get("name")),
        description=to_text(thing.get("description")),
        category=" > ".join(part.strip() for part in to_text(thing.get("category")).split(">")) or trail,
        brand=to_text(thing.get("brand")),
        tags=", ".join(to_texts(thing.get("keywords"))),
        attributes=to_attributes([*pairs, *plain]),
        updated_at=to_text(thing.get("dateModified")),
    )


def _walk(value: Any, depth: int) -> Iterator[Row]:
    """Yield things, and what they hold that may be a product."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for one in value:
            yield from _walk(one, depth + 1)
    elif isinstance(value, dict):
        if "@type" in value:
            yield value
        for name in _WITHIN:
            if name in value and not ({"BreadcrumbList", "ListItem"} & _types(value) and name == "itemListElement"):
                yield from _walk(value[name], depth + 1)


def _types(thing: Row) -> set[str]:
    return {name.rpartition("/")[2].rpartition(":")[2] for name in to_texts(thing.get("@type"))}


def _group_of(value: Any) -> str:
    if isinstance(value, dict):
        return to_text(value.get("productGroupID")) or to_text(value.get("@id"))
    return to_text(value)


def _breadcrumbs(thing: Row) -> str:
    entries = thing.get("itemListElement")
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return " > ".join(to_text(entry.get("name")) or to_text(entry.get("item")) for entry in listed)


PLATFORM = Platform("schema_org", "schema.org", (columns("@context"), columns("@type", "name")), _read)
