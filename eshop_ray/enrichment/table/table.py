"""The Delta table that the nightly run keeps: the checkpoint of the work and what other engines read.

Every version holds one row per key. Workers write data files; they count only once the driver's `Writer` commits
them.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, cast
from uuid import uuid4

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from pyroaring import BitMap64

from eshop_ray.enrichment.table import snapshot
from eshop_ray.enrichment.table.datafile import SHA256, DataFile
from eshop_ray.enrichment.table.deletion import DeletionVector, VectorWriter, decode
from eshop_ray.enrichment.table.log import Log
from eshop_ray.enrichment.table.parquet import POSITION, ParquetBuilder, iter_rows, take_rows
from eshop_ray.enrichment.table.protocol import Protocol
from eshop_ray.enrichment.table.snapshot import Snapshot
from eshop_ray.enrichment.table.storage import Storage
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """A Delta table at a URI; picklable, so that Ray workers read and write its files."""

    uri: str
    schema: pa.Schema

    @classmethod
    def open(cls, uri: str, schema: pa.Schema) -> "Table":
        """Return the table at a local folder or URI, created empty where there is none.

        Raises:
            UserError: if the place cannot be written, or what stands there has other columns.
        """
        table = cls(uri, schema)
        table.storage.make_folder()
        current = snapshot.load(table.storage)
        if current is None:
            Log(table.storage).create(0, _first_entry(schema))
            current = table.snapshot()
        _check(table, current)
        return table

    @cached_property
    def storage(self) -> Storage:
        """Where the table's files stand."""
        return Storage(self.uri)

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the state at a version, by default the newest.

        Raises:
            UserError: if there is no table, or its log cannot be read.
        """
        found = snapshot.load(self.storage, version)
        if found is None:
            raise UserError(f"{self.storage.shown}: no Delta table; run `eshop enrich-catalog` first")
        return found

    def write_file(self, rows: pa.Table) -> DataFile:
        """Write rows as a new data file, which is no part of the table before it is committed.

        Raises:
            StorageError: if the storage refuses.
        """
        return self.write_batches([rows])

    def write_batches(self, batches: Iterable[pa.Table]) -> DataFile:
        """Write a stream of rows as one new data file; a row group is in memory.

        Raises:
            StorageError: if the storage refuses.
            ValueError: if there are no rows.
        """
        path = f"part-{uuid4()}.parquet"
        with self.storage.open_sink(path) as sink, ParquetBuilder(self.schema, cast(IO[bytes], sink)) as builder:
            for batch in batches:
                builder.append(batch)
            if builder.num_rows == 0:
                raise ValueError("a data file needs rows")
            stats = builder.finish()
        return DataFile(path, sink.size, builder.num_rows, int(time.time() * 1000), stats, {SHA256: sink.sha256})

    def iter_batches(self, file: DataFile, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a file's live rows in batches, with the columns chosen and the physical row number, `position`.

        Raises:
            UserError: if the file is missing or damaged.
        """
        yield from self._iter_batches(file, self.deleted(file), columns)

    def read_file(self, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all live rows of a file, as `iter_batches` yields them."""
        empty = self._select(columns).append(pa.field(POSITION, pa.int64())).empty_table()
        return pa.concat_tables([empty, *self.iter_batches(file, columns)])

    def take(self, file: DataFile, positions: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Return chosen physical rows of a file, deleted or not, in the order of `positions`.

        Raises:
            UserError: if the file is missing or damaged.
            IndexError: if the file has no such row.
        """
        with self._open(file) as source:
            return take_rows(source, np.asarray(positions, np.int64), self._select(columns))

    def merge(self, files: Iterable[DataFile]) -> DataFile:
        """Write the live rows of some files as one new file, batch by batch."""
        return self.write_batches(batch for file in files for batch in self.iter_batches(file))

    def rewrite(self, file: DataFile, deleted: BitMap64) -> DataFile:
        """Write a file's rows but these as a new file."""
        return self.write_batches(self._iter_batches(file, deleted, columns=None))

    def write_vectors(self, deleted: Iterable[BitMap64]) -> list[DeletionVector]:
        """Return the deletion vectors of these physical row numbers; big ones are written to a file.

        Raises:
            StorageError: if the storage refuses.
        """
        writer = VectorWriter()
        vectors = [writer.encode(positions) for positions in deleted]
        if writer.file is not None:
            self.storage.write(*writer.file)
        return vectors

    def checkpoint(self, version: int) -> None:
        """Sum up the log to a version in one file; where that fails, readers only have more to read."""
        try:
            DeltaTable(self.storage.uri, version, storage_options=self.storage.options).create_checkpoint()
        except (DeltaError, OSError, ValueError) as error:
            logger.warning("%s: no checkpoint of version %d: %s", self.storage.shown, version, type(error).__name__)

    def deleted(self, file: DataFile) -> BitMap64:
        """Return the physical row numbers that a file's deletion vector removes.

        Raises:
            UserError: if the vector is missing or damaged.
        """
        if file.deletion_vector is None:
            return BitMap64()
        try:
            return decode(file.deletion_vector, self._read_whole)
        except ValueError as error:
            raise UserError(f"{self.storage.shown}: {file.name} cannot be read: {error}") from error

    def _iter_batches(self, file: DataFile, deleted: BitMap64, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        positions = np.array(deleted.to_array(), dtype=np.int64)
        with self._open(file) as source:
            yield from iter_rows(source, self._select(columns), positions)

    def _read_whole(self, path: str) -> bytes:
        data = self.storage.read(path)
        if data is None:
            raise ValueError(f"{path} is missing")
        return data

    @contextmanager
    def _open(self, file: DataFile) -> Iterator[IO[bytes]]:
        try:
            with self.storage.open(file.name) as source:
                yield source
        except pa.ArrowInvalid as error:
            raise UserError(f"{self.storage.shown}: {file.name} is damaged; restore it or rebuild the table") from error

    def _select(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])


def _first_entry(schema: pa.Schema) -> list[dict[str, Any]]:
    now = int(time.time() * 1000)
    metadata = {
        "id": str(uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": Schema.from_arrow(schema).to_json(),
        "partitionColumns": [],
        "configuration": {},
        "createdTime": now,
    }
    info = {"timestamp": now, "operation": "CREATE TABLE", "operationParameters": {}, "engineInfo": "eshop_ray"}
    return [{"commitInfo": info}, Protocol().to_action(), {"metaData": metadata}]


def _check(table: Table, current: Snapshot) -> None:
    """Refuse a table of another shape: rewriting its files would lose what is not known here."""
    expected, found = _types(Schema.from_arrow(table.schema).to_json()), _types(current.metadata["schemaString"])
    wrong = [
        f"`{name}` is {found.get(name, 'missing')} instead of {expected.get(name, 'absent')}"
        for name in [*expected, *(name for name in found if name not in expected)]
        if found.get(name) != expected.get(name)
    ]
    wrong += [f"it is partitioned by `{name}`" for name in current.metadata["partitionColumns"]]
    if current.metadata["configuration"].get("delta.appendOnly") == "true":
        wrong.append("`delta.appendOnly` is set")
    if wrong:
        raise UserError(
            f"{table.storage.shown} is a table of another shape: {', '.join(wrong)}; set another `table.uri`"
        )


def _types(schema: str) -> dict[str, str]:
    """Column -> its Delta type, without nullability and comments."""
    return {field["name"]: json.dumps(_plain(field["type"])) for field in json.loads(schema)["fields"]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _plain(part) for name, part in value.items() if name not in {"nullable", "containsNull", "metadata"}
        }
    return [_plain(part) for part in value] if isinstance(value, list) else value
