"""Adobe Commerce and Magento Open Source: rows of simple products, of what is configured from them, of store views."""

import re
from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_path
from eshop_ray.schema import Row

_ATTRIBUTE = re.compile(r'(?:^|,)("?)([a-z][a-z0-9_]*)=')
"""Where a value may hold commas, the next name tells its end."""
_HIDDEN = "not visible individually"


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    sku = cells.text("sku")
    store_view = cells.text("store_view_code")
    if cells.text("visibility").lower() == _HIDDEN or (store_view and store_view != locale):
        yield Part(sku, None)
        return
    attributes = _split_attributes(cells.text("additional_attributes"))
    path = cells.text("categories").partition(",")[0]
    product = build(
        sku,
        name=cells.text("name"),
        description=cells.text("description", "short_description"),
        category=to_path(path.partition("/")[2] or path, "/"),
        brand=attributes.pop("manufacturer", "") or attributes.pop("brand", ""),
        tags=cells.text("meta_keywords"),
        attributes=to_attributes((name.replace("_", " ").capitalize(), value) for name, value in attributes.items()),
        price=cells.text("price"),
        updated_at=cells.text("updated_at"),
    )
    yield Part(sku, product)


def _split_attributes(text: str) -> dict[str, str]:
    found = list(_ATTRIBUTE.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return {match[2]: text[match.end() : end].strip('" ') for match, end in zip(found, ends, strict=False)}


PLATFORM = Platform("magento", "Magento", (columns("sku", "product_type", "attribute_set_code", "name"),), _read)
