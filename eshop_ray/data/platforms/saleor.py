"""Saleor: a dump of its database, whose rows name each other by their keys."""

from collections.abc import Iterator
from typing import Any

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_text
from eshop_ray.schema import Malformed, Row


def _join(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield the products of a dump, with the names of what they point to."""
    held = list(rows)
    models: dict[str, dict[Any, Row]] = {}
    for _, row in (one for one in held if not isinstance(one, Malformed)):
        if isinstance(row.get("fields"), dict):
            models.setdefault(str(row.get("model")), {})[row.get("pk")] = row["fields"]
    attributes: dict[Any, list[tuple[str, str]]] = {}
    for assigned in models.get("attribute.assignedproductattributevalue", {}).values():
        value = models.get("attribute.attributevalue", {}).get(assigned.get("value"), {})
        attribute = models.get("attribute.attribute", {}).get(value.get("attribute"), {})
        pair = (to_text(attribute.get("name")), to_text(value.get("name")))
        attributes.setdefault(assigned.get("product"), []).append(pair)
    for one in held:
        if isinstance(one, Malformed):
            yield one
        elif one[1].get("model") == "product.product" and isinstance(one[1].get("fields"), dict):
            number, row = one
            fields = row["fields"]
            category = " > ".join(_path(models.get("product.category", {}), fields.get("category")))
            pairs = attributes.get(row.get("pk"), [])
            yield number, {**fields, "pk": row.get("pk"), "category_path": category, "attributes": to_attributes(pairs)}


def _path(categories: dict[Any, Row], key: Any) -> list[str]:
    """Return the names from the outermost category to this one; a dump may hold a circle."""
    names: list[str] = []
    seen = set()
    while key in categories and key not in seen:
        seen.add(key)
        names.append(to_text(categories[key].get("name")))
        key = categories[key].get("parent")
    return names[::-1]


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells(row)
    product_id = cells.text("pk")
    description = cells.get("description")
    blocks = description.get("blocks", []) if isinstance(description, dict) else []
    texts = [to_text(block.get("data")) for block in blocks if isinstance(block, dict)]
    product = build(
        product_id,
        name=cells.text("name"),
        description="\n".join(text for text in texts if text) or cells.text("description_plaintext"),
        category=cells.text("category_path"),
        attributes=cells.text("attributes"),
        updated_at=cells.text("updated_at"),
    )
    yield Part(product_id, product)


PLATFORM = Platform("saleor", "Saleor", (columns("model", "pk", "fields"),), _read, join=_join)
