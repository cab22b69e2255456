"""A shop's product catalogue, in any format of rows, as a shop system exports it or in columns of its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any

from pydantic import ValidationError

from eshop_ray.config.files import CatalogOptions
from eshop_ray.config.loading import explain_errors
from eshop_ray.data.products import explain_missing, join_texts, look_up, read_id, read_products, read_version
from eshop_ray.data.sources.required import require_columns
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record, Row

COLUMNS = ("id", "name", "category", "description")
"""What is read of a product; `id` and `description` may be missing."""


class SourceOptions(CatalogOptions):
    """What `data.sources` may say about a catalogue."""

    group: str = "product_category"
    """Name of the set of categories."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:
    """Yield `classification` records: name and description as `text`, the category as target.

    The labels are not in the row: preparation fills them with all categories of the record's group.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: The fields of `SourceOptions`.

    Raises:
        UserError: if the file cannot be parsed as a whole, or no row has a name or a category.
    """
    try:
        settings = SourceOptions.model_validate(dict(options))
    except ValidationError as error:
        raise UserError(f"catalog source: {explain_errors(error, SourceOptions)}") from error

    def explain(missing: Sequence[str], seen: Iterable[str]) -> UserError:
        return explain_missing(path, missing, set(seen) - set(settings.columns), "options")

    # A platform gives its products the columns that it has.
    needed = [] if settings.format else [_first(settings.columns.get(name, name)) for name in ("name", "category")]
    rows = read_products(stream, path, settings)
    yield from require_columns(rows, path, needed, partial(_record, settings=settings), explain)


def _first(column: str | tuple[str, ...]) -> str:
    return column if isinstance(column, str) else column[0]


def _record(path: str, number: int, product: Row, settings: SourceOptions) -> Record | Malformed:
    values = {name: product.get(name) for name in COLUMNS}
    values["description"] = join_texts(values["description"])
    texts = {name: " ".join(value.split()) if isinstance(value, str) else "" for name, value in values.items()}
    for name in ("name", "category"):
        if not texts[name]:
            return Malformed(path, number, f"`{settings.columns.get(name, name)}` is missing or not text")
    text = "\n".join(texts[name] for name in ("name", "description") if texts[name])
    record: dict[str, Any] = {
        "task": "classification",
        "group": settings.group,
        "text": text,
        "target": texts["category"],
    }
    product_id = read_id(values["id"])
    if product_id is not None:
        record["id"] = product_id
    if settings.newest_by:
        record["version"] = read_version(look_up(product, settings.newest_by))
    return record
