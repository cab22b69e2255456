"""The exchange between tasks: rows leave a task by columns, divided into buckets; a later task reads one bucket of all.

Each part is one file of the run's storage, a folder or an object store, with the rows of a bucket side by side: a
reader fetches these bytes and no others. Where they stand is told by the `Part` that writing returns, so that what a
task left behind that did not end is never read. Parts are written whole, under names that a repeated task gives again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from eshop_ray.schema import Row
from eshop_ray.storage import Storage

PART_BYTES = 16 << 20
"""Bytes of columns that a task holds before it writes a part."""

NUM_THREADS = 8
"""Requests to the storage at one time."""

Buckets = np.ndarray
"""int64, one number a row."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an exchange: the bytes of bucket `i` stand between `offsets[i]` and `offsets[i + 1]`."""

    name: str
    offsets: np.ndarray

    def to_row(self) -> Row:
        """Return it as plain values."""
        return {"name": self.name, "offsets": self.offsets.tolist()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_row` made."""
        return cls(row["name"], np.array(row["offsets"], np.int64))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One kind of rows that a run exchanges; picklable."""

    storage: Storage
    kind: str
    """Also the name of its folder: `products`, `reviews`, ..."""
    schema: pa.Schema
    num_buckets: int
    parts: tuple[Part, ...] = ()
    """What there is to read."""

    def with_parts(self, rows: Iterable[Mapping[str, Any]]) -> "Exchange":
        """Return the exchange with these parts to read, in the order of their names."""
        parts = sorted((Part.from_row(row) for row in rows), key=lambda part: part.name)
        return Exchange(self.storage, self.kind, self.schema, self.num_buckets, tuple(parts))

    def choose_parts(self, names: Sequence[str]) -> "Exchange":
        """Return the exchange with some of its parts only."""
        chosen = tuple(part for part in self.parts if part.name in set(names))
        return Exchange(self.storage, self.kind, self.schema, self.num_buckets, chosen)

    def write(self, name: str, rows: pa.Table, buckets: Buckets) -> Part:
        """Write one part.

        Args:
            name: Its name, the same whenever the task is run.
            rows: Columns of `schema`, in any order.
            buckets: Of each row.

        Raises:
            StorageError: if the storage refuses.
        """
        order = np.argsort(buckets, kind="stable")
        ordered = rows.select(self.schema.names).cast(self.schema).take(order)
        ends = np.cumsum(np.bincount(buckets, minlength=self.num_buckets))
        sink = pa.BufferOutputStream()
        offsets, start = [0], 0
        for end in ends.tolist():
            if end > start:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                with pa.ipc.new_stream(sink, self.schema, options=options) as writer:
                    writer.write_table(ordered.slice(start, end - start))
            offsets.append(sink.tell())
            start = end
        self.storage.write(self._path(name), sink.getvalue().to_pybytes())
        return Part(name, np.array(offsets, np.int64))

    def read(self, start: int, stop: int | None = None) -> pa.Table:
        """Return the rows of one bucket, or of those from `start` up to `stop`, part by part.

        Raises:
            StorageError: if the storage refuses, or a part is gone.
        """
        stop = start + 1 if stop is None else stop
        ranges = [(part.name, int(part.offsets[start]), int(part.offsets[stop])) for part in self.parts]
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            found = threads.map(lambda one: self._fetch(*one), (one for one in ranges if one[2] > one[1]))
            return pa.concat_tables([self.schema.empty_table(), *found])

    def _fetch(self, name: str, start: int, end: int) -> pa.Table:
        """Return rows of one part in one piece: columns of many small ones take more memory than what is in them."""
        content = pa.BufferReader(self.storage.read_range(self._path(name), start, end - start))
        tables = []
        while content.tell() < end - start:
            with pa.ipc.open_stream(content) as reader:
                tables.append(reader.read_all())
        return pa.concat_tables(tables).combine_chunks()

    def _path(self, name: str) -> str:
        return f"{self.kind}/{name}.arrow"


class PartWriter:
    """Takes rows by columns until they make up a part."""

    def __init__(self, exchange: Exchange, name: str, place: Callable[[pa.Table], Buckets]) -> None:
        """Begin.

        Args:
            exchange: Where to.
            name: Of the task; its parts are numbered.
            place: Rows -> the bucket of each.
        """
        self._exchange, self._name, self._place = exchange, name, place
        self._held: list[pa.Table] = []
        self._num_bytes = 0
        self.parts: list[Part] = []
        """What has been written."""

    def add(self, rows: pa.Table) -> None:
        """Take some rows."""
        self._held.append(rows)
        self._num_bytes += rows.nbytes
        if self._num_bytes >= PART_BYTES:
            self.close()

    def close(self) -> list[Row]:
        """Write what is held, and return all parts as plain values."""
        rows = pa.concat_tables(self._held) if self._held else None
        self._held, self._num_bytes = [], 0
        if rows is not None and len(rows):
            name = f"{self._name}-{len(self.parts):06d}"
            self.parts.append(self._exchange.write(name, rows, self._place(rows)))
        return [part.to_row() for part in self.parts]
