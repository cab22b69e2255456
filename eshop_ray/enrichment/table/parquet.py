"""Data files' bytes: Parquet that is written and read one row group at a time."""

import json
from collections.abc import Iterator
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

POSITION = "position"
"""Column with a row's physical number in its file."""

ROW_GROUP_ROWS = 16_384
ROW_GROUP_BYTES = 64 << 20
"""A row group ends with the first of the two: it is the unit of memory of everything that reads."""

_BATCH_ROWS = 4096
_NUM_BOUNDED = 2
"""Bounds are kept for a table's leading columns, by which rows are looked up."""
_BOUND_CHARS = 32
Positions = npt.NDArray[np.int64]


class ParquetBuilder:
    """A data file in the making; at most one row group of rows is in memory."""

    def __init__(self, schema: pa.Schema, sink: IO[bytes]) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd")
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        self._bounds: dict[str, tuple[Any, Any]] = dict.fromkeys(schema.names[:_NUM_BOUNDED], (None, None))
        self._num_nulls = dict.fromkeys(self._bounds, 0)
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        if error is not None:
            self._writer.is_open = False  # else PyArrow would finish the file when it is collected, sink or no sink

    def append(self, rows: pa.Table) -> None:
        """Add rows; columns that the schema does not name are left out."""
        rows = rows.select(self._schema.names).cast(self._schema)
        self.num_rows += rows.num_rows
        for name in self._bounds:
            self._note_bounds(name, rows[name])
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        self._pending_bytes += rows.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> str:
        """Write the rest and return the file's statistics as Delta writes them."""
        self._flush()
        self._writer.close()
        bounds = self._bounds.items()
        stats = {
            "numRecords": self.num_rows,
            "tightBounds": True,
            "minValues": {name: low[:_BOUND_CHARS] for name, (low, _) in bounds if low is not None},
            "maxValues": {name: high for name, (_, high) in bounds if high is not None and len(high) <= _BOUND_CHARS},
            "nullCount": self._num_nulls,
        }
        return json.dumps(stats)

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.concat_tables(self._pending), row_group_size=ROW_GROUP_ROWS)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _note_bounds(self, name: str, column: pa.ChunkedArray) -> None:
        found = pc.min_max(column).as_py()
        low, high = self._bounds[name]
        if found["min"] is not None:
            low = found["min"] if low is None else min(low, found["min"])
            high = found["max"] if high is None else max(high, found["max"])
        self._bounds[name] = low, high
        self._num_nulls[name] += column.null_count


def iter_rows(source: IO[bytes], schema: pa.Schema, deleted: Positions) -> Iterator[pa.Table]:
    """Yield a file's rows but the deleted ones, at most a row group in memory.

    Columns are those of `schema`, in its types even where another program wrote others (large strings, views), and
    `position`.
    """
    file = pq.ParquetFile(pa.PythonFile(source, mode="r"), pre_buffer=False)
    start = 0
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=schema.names):
            positions = np.arange(start, start + batch.num_rows, dtype=np.int64)
            start += batch.num_rows
            rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            rows = rows.append_column(POSITION, pa.array(positions))
            lost = deleted[np.searchsorted(deleted, positions[0]) : np.searchsorted(deleted, start)]
            if len(lost):
                is_live = np.ones(len(positions), dtype=bool)
                is_live[lost - positions[0]] = False
                rows = rows.filter(pa.array(is_live))
            if rows.num_rows:
                yield rows


def take_rows(source: IO[bytes], positions: Positions, schema: pa.Schema) -> pa.Table:
    """Return chosen physical rows in the order of `positions`, reading only the row groups that hold them.

    Raises:
        IndexError: if the file has no such row.
    """
    file = pq.ParquetFile(pa.PythonFile(source, mode="r"), pre_buffer=False)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if len(positions) and (positions.min() < 0 or positions.max() >= starts[-1]):
        raise IndexError(f"rows {positions.min()} to {positions.max()} of a file of {starts[-1]} rows")
    wanted, places = np.unique(positions, return_inverse=True)
    groups = np.searchsorted(starts, wanted, side="right") - 1
    found = [schema.empty_table()]
    for group in np.unique(groups):
        rows = file.read_row_group(int(group), columns=schema.names).select(schema.names).cast(schema)
        found.append(rows.take(pa.array(wanted[groups == group] - starts[group])))
    return pa.concat_tables(found).take(pa.array(places))
