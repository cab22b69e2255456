"""WooCommerce's export of products, in the languages that name their columns as English or German shops do."""

import re
from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_path
from eshop_ray.schema import Row

_COMMA = re.compile(r"(?<!\\),")
_GUARDED = re.compile(r"'(?=[=+\-@])")
"""The apostrophe that keeps spreadsheets from taking a cell for a formula."""
_ATTRIBUTE = re.compile(r"attribut(?:e)? (\d+) name")


def _read(row: Row, locale: str | None) -> Iterator[Part]:  # noqa: ARG001
    cells = Cells({name: _clean(value) if isinstance(value, str) else value for name, value in row.items()})
    if cells.text("type", "typ").partition(",")[0].strip().lower() == "variation":
        yield Part(cells.text("parent", "übergeordnetes produkt"), None)
        return
    product_id = cells.text("id", "sku", "artikelnummer")
    numbers = [match[1] for column in cells if (match := _ATTRIBUTE.fullmatch(column))]
    categories = [
        to_path(path.replace("\\,", ","), ">") for path in _COMMA.split(cells.text("categories", "kategorien"))
    ]
    product = build(
        product_id,
        name=cells.text("name"),
        description=cells.text("description", "beschreibung") or cells.text("short description", "kurzbeschreibung"),
        category=max(categories, key=lambda path: path.count(">"), default=""),
        brand=cells.text("brands", "marken"),
        tags=cells.text("tags", "schlagwörter"),
        attributes=to_attributes(
            (
                cells.text(f"attribute {number} name", f"attribut {number} name"),
                cells.text(f"attribute {number} value(s)", f"attribut {number} wert(e)"),
            )
            for number in numbers
        ),
        price=cells.text("regular price", "regulärer preis"),
    )
    yield Part(product_id, product)


def _clean(text: str) -> str:
    """Return a cell without what the exporter does to it: line ends written out, a guard before signs."""
    return _GUARDED.sub("", text.replace("\\n", "\n"), count=1) if text.startswith("'") else text.replace("\\n", "\n")


PLATFORM = Platform(
    "woocommerce",
    "WooCommerce",
    (
        columns("type", "name", "parent", "visibility in catalog"),
        columns("typ", "name", "übergeordnetes produkt"),
    ),
    _read,
)
