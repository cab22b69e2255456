"""Sylius: suites of fixtures in YAML, and the tables of its plug-in for import and export, a row per language."""

from collections.abc import Iterator

from eshop_ray.data.platforms.base import Cells, Part, Platform, build, columns, to_attributes, to_text
from eshop_ray.schema import Row


def _read(row: Row, locale: str | None) -> Iterator[Part]:
    cells = Cells(row)
    if "main_taxon" not in cells:  # a taxon, an attribute or an option of the suite
        return
    if locale is not None and cells.text("locale") not in ("", locale):
        yield Part(cells.text("code"), None)
        return
    product_id = cells.text("code", "slug", "name")
    attributes = cells.get("product_attributes")
    pairs = list(attributes.items()) if isinstance(attributes, dict) else []
    named = (
        (column.removeprefix("attribute_"), cells.text(column)) for column in cells if column.startswith("attribute_")
    )
    product = build(
        product_id,
        name=cells.text("name"),
        description=cells.text("description", "short_description"),
        category=cells.text("main_taxon"),
        brand=next((to_text(value) for name, value in pairs if str(name).endswith("brand")), ""),
        attributes=to_attributes(
            [*((str(name).replace("_", " ").capitalize(), to_text(value)) for name, value in pairs), *named]
        ),
        price=cells.text("price"),
    )
    yield Part(product_id, product)


PLATFORM = Platform(
    "sylius",
    "Sylius",
    (columns("code", "locale", "name", "main_taxon"), columns("name", "main_taxon", "taxons")),
    _read,
    records="sylius_fixtures.suites.*.fixtures.*.options.custom",
)
