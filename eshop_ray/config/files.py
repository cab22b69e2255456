"""How files of products and reviews are written, and what their columns mean: the same keys wherever files are read."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from eshop_ray.config.base import PositiveInt, Section

Platform = Literal[
    "akeneo",
    "amazon_reviews",
    "bagisto",
    "commercetools",
    "google_merchant",
    "google_retail",
    "magento",
    "medusa",
    "prestashop",
    "saleor",
    "schema_org",
    "shopify",
    "spree",
    "sylius",
    "vendure",
    "woocommerce",
]
"""Systems whose exports are understood."""

Character = Annotated[str, Field(min_length=1, max_length=1)]


class FileOptions(Section):
    """How files are written, where looking at them does not tell it."""

    encoding: str | None = None
    """E.g. `cp1252` or `shift_jis`; None: by the file's mark or its contents."""
    delimiter: Character | None = None
    """What separates the fields of a table as text; None: by its header."""
    quote: Literal["'", '"', ""] | None = None
    """What encloses fields of a table as text; empty: quotes are text like any other; None: `"`."""
    escape: Character | None = None
    """What stands before a quote within a field, e.g. `\\\\`; None: a quote within a field is written twice."""
    records: str | None = None
    """Where the rows are: `data.products` within a JSON or YAML document, the element's name in XML, the sheet's name
    in a workbook; None: by the usual names."""

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                "".encode(name)
            except LookupError as error:
                raise ValueError("no encoding of that name; try utf-8, utf-16, cp1252, shift_jis or gb18030") from error
        return name

    def file_options(self) -> "FileOptions":
        """Return these options without those of what the columns mean."""
        return FileOptions(**{name: getattr(self, name) for name in FileOptions.model_fields})


class CatalogOptions(FileOptions):
    """How a catalogue's files are written, and which of their columns is what."""

    format: Platform | None = None
    """The system that wrote them; None: one row per product, in the columns that `columns` names."""
    columns: dict[str, str | tuple[str, ...]] = {}
    """The file's own names of `id`, `name`, `category`, `description` and whatever else the tasks read, e.g.
    `{name: title}`. `details.color` looks into a column; several names are joined."""
    category: Literal["path", "leaf"] | PositiveInt = "path"
    """Which part of a category such as `Home > Kitchen > Pans` is the label: all of it, the last name, or the name of
    that level, 1 being `Home`."""
    newest_by: str | None = None
    """Column with a date or number by which the newest of several rows with one id wins; the others are left aside.
    None: the first row wins, and the others are named as trouble."""
    locale: str | None = None
    """Which language of an export in several, e.g. `de_DE`; None: the first that has a name."""

    @field_validator("columns", mode="before")
    @classmethod
    def _check_columns(cls, columns: Any) -> Any:
        if isinstance(columns, dict) and (
            empty := [name for name, column in columns.items() if column in ("", [], ())]
        ):
            raise ValueError(f"`{empty[0]}` names no column; leave it out, or name the file's own")
        return columns
