"""A shop's product catalogue, in any format of rows."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.sources.formats import join_texts, read_rows
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record

COLUMNS = ("id", "name", "category", "description")
"""What a product needs; `id` and `description` may be missing."""

_Row = tuple[int, dict[str, Any]]


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:
    """Yield `classification` records: name and description as `text`, the category as target.

    The labels are not in the row: preparation fills them with all categories of the record's group.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path; the ending tells the format.
        options: `columns` maps a name of `COLUMNS` to the file's own; `group` names the set of categories.

    Raises:
        UserError: if the file cannot be parsed as a whole, or no row has a name or a category.
    """
    columns = _map_columns(options)
    seen: set[str] = set()
    num_rows = 0
    for line in read_rows(stream, path):
        if isinstance(line, Malformed):
            yield line
            continue
        num_rows += 1
        seen.update(str(column) for column in line[1])
        yield _product(path, line, columns, str(options.get("group", "product_category")))
    missing = [columns[name] for name in ("name", "category") if columns[name] not in seen]
    if num_rows and missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(sorted(seen)[:20])}; "
            "name the file's own columns in the source's `options: {columns: {name: ..., category: ...}}`"
        )


def _map_columns(options: Mapping[str, Any]) -> dict[str, str]:
    renamed = options.get("columns", {})
    unknown = set(options) - {"columns", "group"} or set(renamed) - set(COLUMNS)
    if unknown:
        raise UserError(
            f"catalog source: unknown option {', '.join(sorted(map(str, unknown)))}; "
            f"use `group`, and `columns` with any of {', '.join(COLUMNS)}"
        )
    return {name: str(renamed.get(name, name)) for name in COLUMNS}


def _product(path: str, row: _Row, columns: Mapping[str, str], group: str) -> Record | Malformed:
    number, product = row
    values = {name: product.get(columns[name]) for name in COLUMNS}
    values["description"] = join_texts(values["description"])
    texts = {name: " ".join(value.split()) if isinstance(value, str) else "" for name, value in values.items()}
    for name in ("name", "category"):
        if not texts[name]:
            return Malformed(path, number, f"`{columns[name]}` is missing or not text")
    text = "\n".join(texts[name] for name in ("name", "description") if texts[name])
    record = {"task": "classification", "group": group, "text": text, "target": texts["category"]}
    return record if values["id"] in (None, "") else {**record, "id": str(values["id"])}
