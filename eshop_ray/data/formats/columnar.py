"""Parquet: rows of columns with types, which may include what JSON does not know."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.data.formats.text_blocks import Blocks, TextBlock
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

_BATCH_ROWS = 8192
_UUID_BYTES = 16


def read_parquet(stream: IO[bytes], path: str) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based row, column -> value): decimals, dates, UUIDs and bytes as JSON would write them.

    Raises:
        UserError: if the file is no Parquet or is damaged.
    """
    try:
        with pq.ParquetFile(stream) as file:
            yield from _number_rows(file.iter_batches(_BATCH_ROWS), path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {error}") from error


def read_parquet_blocks(stream: IO[bytes], path: str, texts: Sequence[str], scalars: Sequence[str]) -> Blocks:
    """Yield what `read_parquet` does, by the block where the wanted columns are text, or whole numbers."""
    try:
        with pq.ParquetFile(stream) as file:
            schema = file.schema_arrow
            held = [name for name in (*texts, *scalars) if name in schema.names]
            if not all(_is_text_kind(schema.field(name).type, name in scalars) for name in held):
                yield from _number_rows(file.iter_batches(_BATCH_ROWS), path)
                return
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=held):
                columns = {name: batch[name].cast(pa.string()) for name in held}
                if all(_is_utf8(column) for column in columns.values()):
                    yield TextBlock(columns, np.arange(number + 1, number + 1 + len(batch)))
                else:
                    yield from _number_rows([batch], path, number)
                number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {error}") from error


def _number_rows(
    batches: Iterable[pa.RecordBatch], path: str, number: int = 0
) -> Iterator[tuple[int, Row] | Malformed]:
    for batch in batches:
        for row in _to_rows(batch):
            number += 1
            yield (number, row) if row is not None else Malformed(path, number, "a value that cannot be read")


def _is_utf8(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text_kind(kind: pa.DataType, or_whole_number: bool) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or (or_whole_number and types.is_integer(kind)))


def _to_rows(batch: pa.RecordBatch) -> list[Row | None]:
    """Return rows as Python values, None for one with text that is no UTF-8 or a date that Python does not know."""
    try:
        rows: list[Row] = batch.to_pylist()
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            return [None]
        middle = batch.num_rows // 2
        return [*_to_rows(batch.slice(0, middle)), *_to_rows(batch.slice(middle))]
    special = [field.name for field in batch.schema if not _is_plain(field.type)]
    for row in rows:
        row.update({name: _to_value(row[name]) for name in special})
    return [*rows]


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
    )


def _to_value(value: Any) -> Any:
    """Return a value as JSON would hold it."""
    if isinstance(value, list):
        return [_to_value(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _to_value(inner) for name, inner in value.items()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return _decode(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _decode(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if text.isprintable() or not text.isascii():
        return text
    return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value.hex()
