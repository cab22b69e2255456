"""Files of rows: YAML, JSON, a table as text or Parquet, told apart by the file's ending."""

import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from eshop_ray.data.sources.delimited import read_table
from eshop_ray.data.sources.lines import is_text, read_json_lines
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed

_Row = tuple[int, dict[str, Any]]


def join_texts(value: Any) -> Any:
    """Return a list of texts, such as the paragraphs of a description, as one text; anything else as it is."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return value


def read_rows(stream: IO[bytes], path: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (1-based line or row, the row as it stands in the file: a product, a review).

    Args:
        stream: The file's bytes, unpacked.
        path: Its path; the ending tells the format.

    Raises:
        UserError: if the file cannot be parsed as a whole.
    """
    name = path.partition("?")[0].removesuffix(".gz")
    if name.endswith((".yaml", ".yml")):
        yield from _read_yaml(stream, path)
    elif name.endswith((".jsonl", ".ndjson", ".json")):
        yield from read_json_lines(stream, path)
    elif name.endswith((".csv", ".tsv", ".txt")):
        yield from read_table(stream, path)
    elif name.endswith(".parquet"):
        yield from _read_parquet(stream, path)
    else:
        endings = ".yaml, .jsonl, .ndjson, .json, .csv, .tsv, .txt or .parquet"
        raise UserError(f"{path}: this ending tells no format of rows; export it as {endings}, each also with .gz")


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
