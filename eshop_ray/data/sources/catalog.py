"""A shop's product catalogue: YAML, JSON, a table as text or Parquet, told apart by the file's ending."""

import io
from collections.abc import Iterator, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from eshop_ray.data.sources.delimited import read_table
from eshop_ray.data.sources.lines import is_text, read_json_lines
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


def join_texts(value: Any) -> Any:
    """Return a list of texts, such as the paragraphs of a description, as one text; anything else as it is."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return value


def read_rows(stream: IO[bytes], path: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (1-based line or row, the product as it stands in the file).

    Raises:
        UserError: if the file cannot be parsed as a whole.
    """
    name = path.partition("?")[0].removesuffix(".gz")
    if name.endswith((".yaml", ".yml")):
        yield from _read_yaml(stream, path)
    elif name.endswith((".jsonl", ".json")):
        yield from read_json_lines(stream, path)
    elif name.endswith((".csv", ".tsv", ".txt")):
        yield from read_table(stream, path)
    elif name.endswith(".parquet"):
        yield from _read_parquet(stream, path)
    else:
        endings = ".yaml, .jsonl, .json, .csv, .tsv, .txt or .parquet"
        raise UserError(f"{path}: a catalogue ends in {endings}, each also with .gz")


def _read_yaml(stream: IO[bytes], path: str) -> Iterator[_Row | Malformed]:
    try:
        products = yaml.load(stream.read(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error  # a wrong tag breaks PyYAML in many ways
    if not isinstance(products, list):
        raise UserError(f"{path}: expected a YAML list of products, found {type(products).__name__}")
    for number, product in enumerate(products, start=1):
        if not isinstance(product, dict):
            yield Malformed(path, number, f"expected a mapping, found {type(product).__name__}")
        elif not is_text(str(product)):
            yield Malformed(path, number, "not UTF-8")
        else:
            yield number, product


def _read_parquet(stream: IO[bytes], path: str) -> Iterator[_Row | Malformed]:
    number = 0
    try:
        with pq.ParquetFile(io.BytesIO(stream.read())) as file:
            for batch in file.iter_batches():
                for product in _to_rows(batch):
                    number += 1
                    yield (number, product) if product else Malformed(path, number, "a value that cannot be read")
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {error}") from error


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """Return rows as Python values, None for one with text that is no UTF-8 or a date that Python does not know."""
    try:
        rows: list[dict[str, Any] | None] = batch.to_pylist()
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            return [None]
        middle = batch.num_rows // 2
        return [*_to_rows(batch.slice(0, middle)), *_to_rows(batch.slice(middle))]
    return rows
