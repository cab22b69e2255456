"""The Delta tables that the nightly run keeps: the checkpoint of the work and what other engines read.

Their rows are divided into buckets by product, a file holding rows of one bucket (and task): a bucket's rows are read
together and rewritten together. The log is `deltalake`'s own. Workers write data files; they count only once the
driver's `Writer` commits them.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from eshop_ray.enrichment.table.datafile import DataFile, Partition, name_file
from eshop_ray.enrichment.table.log_damage import (
    LogDamage,
    find_empty_entries,
    find_log_damage,
    open_version,
    panics_as_errors,
)
from eshop_ray.enrichment.table.shape import describe_types
from eshop_ray.enrichment.table.staged import RUN_FOLDER, note_staged
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage, StorageError

BUCKETS_PROPERTY = "eshop_ray.buckets"
"""Table property with the number of buckets at the start; later on its files tell it."""
_MONTH = 30 * 24
ROW_GROUP_ROWS = 65_536
REPAIR = "`eshop verify CONFIG --repair` takes what is damaged out of the table, and the next night asks it again"
POSITION = "position"
"""Column with the number of a row in its file."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a table holds at one version."""

    version: int
    files: tuple[DataFile, ...]
    num_buckets: int

    @property
    def num_rows(self) -> int:
        """Rows that a reader sees."""
        return sum(file.num_rows for file in self.files)


@dataclass(frozen=True)
class Table:
    """A Delta table at a URI; picklable, so that Ray workers read and write its files."""

    uri: str
    schema: pa.Schema
    """All columns; those of `partition_by` stand in no file."""
    partition_by: tuple[str, ...]
    later: tuple[str, ...] = ()
    """Columns that a table, or a file, of an earlier version is without."""

    def create(self, num_buckets: int, retention_hours: float = 0) -> None:
        """Create the table, empty, where there is none.

        Args:
            num_buckets: How its rows are divided, a power of two.
            retention_hours: How long a version can be read; the log remembers for a month longer which files have gone,
                so that they are deleted even if no run comes for so long.

        Raises:
            UserError: if the place holds other things or cannot be written, or what stands there is another table.
        """
        self.storage.make_folder()
        if self.find() is None:
            self._refuse_foreign_files()
            try:
                DeltaTable.create(
                    self.storage.uri,
                    self.schema,
                    mode="ignore",  # another run may have been faster
                    partition_by=list(self.partition_by),
                    configuration={
                        BUCKETS_PROPERTY: str(num_buckets),
                        "delta.deletedFileRetentionDuration": f"interval {math.ceil(retention_hours) + _MONTH} hours",
                        "delta.logRetentionDuration": f"interval {math.ceil(retention_hours) + _MONTH} hours",
                    },
                    storage_options=self.storage.options,
                    raise_if_key_not_exists=False,
                )
            except (DeltaError, OSError) as error:
                raise self.storage.trouble("written", error) from error
        found = self.load()
        self._check(found)
        self._add_later_columns(found)

    def _add_later_columns(self, found: DeltaTable) -> None:
        """Give a table of an earlier version the columns that it is without, null in all its rows."""
        stated = {field.name for field in found.schema().fields}
        missing = [field for field in Schema.from_arrow(self.schema).fields if field.name not in stated]
        if not missing:
            return
        try:
            found.alter.add_columns(missing)
        except CommitFailedError:
            self._check(self.load())  # another run has added them
        except (DeltaError, OSError) as error:
            raise self.storage.trouble("written", error) from error

    def load(self) -> DeltaTable:
        """Return the table at its newest version, as `deltalake` sees it.

        Raises:
            UserError: if there is none, or its log cannot be read.
        """
        found = self.find()
        if found is None:
            raise UserError(f"{self.storage.shown}: no Delta table; run `eshop enrich-catalog` first")
        return found

    def get_id(self) -> str:
        """Return the id that the table was given when it was made and keeps for ever; empty where there is none.

        Raises:
            UserError: if its log cannot be read.
        """
        found = self.find()
        return str(found.metadata().id) if found is not None else ""

    def snapshot(self) -> Snapshot:
        """Return the state at the newest version.

        Raises:
            UserError: if there is no table, or its log cannot be read.
        """
        return read_snapshot(self, self.load())

    def peek(self, num_buckets: int) -> Snapshot:
        """Return the state at the newest version, that of an empty table where there is none; nothing is written.

        Raises:
            UserError: if what stands there is another table, or its log cannot be read.
        """
        found = self.find()
        if found is None:
            return Snapshot(-1, (), num_buckets)
        self._check(found)
        return read_snapshot(self, found)

    def write_rows(self, rows: pa.Table, partition: Partition, run_id: str) -> DataFile:
        """Write rows of one partition as a new data file, which is no part of the table before it is committed.

        Args:
            rows: All columns but those of `partition_by`; others are left out.
            partition: Their values.
            run_id: Whose file it is until then.

        Raises:
            StorageError: if the storage refuses.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(
            rows.select(self.stored.names).cast(self.stored),
            sink,
            compression="zstd",
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,
        )
        content = sink.getvalue().to_pybytes()
        path = name_file(partition, hashlib.sha256(content).hexdigest())
        note_staged(self.storage, run_id, path)
        self.storage.write(path, content)
        return DataFile(path, len(content), len(rows), int(time.time() * 1000), dict(partition))

    def read_file(self, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a file with the columns chosen, those that it is partitioned by too, and `position`.

        Raises:
            UserError: if the file is missing or damaged.
        """
        names = self.schema.names if columns is None else list(columns)
        stored = [name for name in names if name not in self.partition_by]
        with self._open(file) as source:
            rows = source.read(stored)
            for name in set(self.later).intersection(names).difference(rows.schema.names):
                rows = rows.append_column(name, pa.nulls(len(rows), self.schema.field(name).type))
            for name in names:
                if name in self.partition_by:
                    value = pa.scalar(file.partition[name]).cast(self.schema.field(name).type)
                    rows = rows.append_column(name, pa.repeat(value, file.num_rows))
            schema = pa.schema([self.schema.field(name) for name in names])
            return rows.select(names).cast(schema).append_column(POSITION, pa.array(range(len(rows)), pa.int64()))

    def check_file(self, file: DataFile) -> str | None:
        """Return what is wrong with the bytes of a file, None where they are those that were written."""
        content = self.storage.read(file.name)
        if content is None:
            return "missing"
        if file.digest is None:
            return "its bytes cannot be checked: another program wrote it, without a digest"
        is_same = len(content) == file.size and hashlib.sha256(content).hexdigest().startswith(file.digest)
        return None if is_same else "changed since it was written"

    @cached_property
    def storage(self) -> Storage:
        """Where the table's files stand."""
        return Storage(self.uri)

    @cached_property
    def stored(self) -> pa.Schema:
        """Columns that stand in its files."""
        return pa.schema([field for field in self.schema if field.name not in self.partition_by])

    @contextmanager
    def _open(self, file: DataFile) -> Iterator[pq.ParquetFile]:
        try:
            with (
                self.storage.open(file.name) as source,
                self._explain_damage(file),
                pq.ParquetFile(source, page_checksum_verification=True) as parquet,
            ):
                yield parquet
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self._damage(f"{file.name} is missing") from error
            raise

    def _damage(self, what: str) -> UserError:
        return UserError(f"{self.storage.shown}/{what}: {REPAIR}")

    @contextmanager
    def _explain_damage(self, file: DataFile) -> Iterator[None]:
        """Tell bytes that are not Parquet, or not those that were written, from a storage that cannot be read."""
        try:
            yield
        except (pa.ArrowException, OSError, KeyError) as error:
            if isinstance(error, OSError) and type(error) is not OSError:
                raise  # from the storage
            raise self._damage(f"{file.name} is damaged") from error

    def find(self) -> DeltaTable | None:
        """Return the table at its newest version, None where there is none.

        Where the newest checkpoint is gone, it is read from an earlier one, or from all entries.

        Raises:
            UserError: if its log cannot be read, or has an empty entry.
        """
        try:
            found = open_version(self.storage)
        except TableNotFoundError:
            found = None
        except (DeltaError, OSError, ValueError) as error:
            found = self._read_around(error)
        for path in find_empty_entries(self.storage):
            raise self._damage(f"{path} is empty")
        return found

    def _read_around(self, error: Exception) -> DeltaTable:
        """Return the newest version although checkpoints are damaged, or say which file of the log is."""
        damaged = find_log_damage(self.storage)
        try:
            if damaged and not any(one.is_entry for one in damaged):
                found = open_version(self.storage, min(one.version for one in damaged) - 1)
                with panics_as_errors():
                    found.update_incremental()
                return found
        except (DeltaError, OSError, ValueError):
            pass  # nor can it be read from what is left
        raise self.explain_log(error, damaged) from error

    def explain_log(self, error: Exception, damaged: Sequence[LogDamage]) -> UserError:
        """Return what to say of a log that cannot be read."""
        if not damaged:
            return self.storage.trouble("read", error)
        return self._damage(f"{damaged[0].path} {damaged[0].trouble}")

    def _refuse_foreign_files(self) -> None:
        """Refuse a place that holds anything: what is not this table's is nobody's to tidy away."""
        found = next((file.path for file in self.storage.list() if not file.path.startswith(RUN_FOLDER)), None)
        if found is not None:
            raise UserError(
                f"{self.storage.shown} is no Delta table and is not empty (it holds {found}); set `table.uri` to an "
                "empty or a new place"
            )

    def _check(self, found: DeltaTable) -> None:
        """Refuse a table of another shape: rewriting its files would lose what is not known here."""
        expected = describe_types(Schema.from_arrow(self.schema).to_json())
        stated = describe_types(found.schema().to_json())
        wrong = [
            f"`{name}` is {stated.get(name, 'missing')} instead of {expected.get(name, 'absent')}"
            for name in [*expected, *(name for name in stated if name not in expected)]
            if stated.get(name) != expected.get(name) and not (name in self.later and name not in stated)
        ]
        partitioned = tuple(found.metadata().partition_columns)
        if partitioned != self.partition_by:
            wrong.append(f"it is partitioned by {', '.join(partitioned) or 'nothing'}")
        if BUCKETS_PROPERTY not in found.metadata().configuration:
            wrong.append(f"it has no property `{BUCKETS_PROPERTY}`")
        if found.metadata().configuration.get("delta.appendOnly") == "true":
            wrong.append("`delta.appendOnly` is set")
        if wrong:
            raise UserError(
                f"{self.storage.shown} is a table of another shape: {', '.join(wrong)}; set another `table.uri`"
            )


def read_snapshot(table: Table, found: DeltaTable) -> Snapshot:
    """Return what `deltalake` read.

    Raises:
        UserError: if its log cannot be read, or names files that another program wrote.
    """
    try:
        with panics_as_errors():
            actions = pa.table(found.get_add_actions(flatten=True)).to_pylist()
    except (DeltaError, ValueError) as error:
        raise table.explain_log(error, find_log_damage(table.storage)) from error
    names = {name: f"partition.{name}" for name in table.partition_by}
    files = []
    for action in actions:
        if action["num_records"] is None or any(action[column] is None for column in names.values()):
            raise UserError(
                f"{table.storage.shown} holds a file whose bucket or number of rows is not stated: {action['path']}; "
                "another program wrote it: take it out there"
            )
        partition = {name: str(action[column]) for name, column in names.items()}
        size, modified = action["size_bytes"], action["modification_time"]
        modified_ms = modified if isinstance(modified, int) else int(modified.timestamp() * 1000)
        files.append(DataFile(action["path"], size, action["num_records"], modified_ms, partition))
    divided = {file.num_buckets for file in files}
    if len(divided) > 1:
        raise UserError(f"{table.storage.shown} is divided in several ways at once: another program wrote to it")
    num_buckets = divided.pop() if divided else int(found.metadata().configuration[BUCKETS_PROPERTY])
    return Snapshot(found.version(), tuple(sorted(files, key=lambda file: (file.bucket, file.path))), num_buckets)
