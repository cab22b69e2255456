"""The rows of a dataset as files, from which every phase reads the columns that it needs."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from eshop_ray.data.near_duplicates.shingles import hash_texts
from eshop_ray.data.near_duplicates.work import read_report, write_report
from eshop_ray.errors import UserError
from eshop_ray.map_tasks import read_reports, to_report
from eshop_ray.schema import Row
from eshop_ray.storage import Storage

ROWS = "rows"
"""Folder of the files."""
BATCH_BYTES = 4 << 20
"""Rows that a task holds at one time."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a dataset matter here."""

    id: str
    """Unlike in every row."""
    text: str
    priority: str | None
    """Of rows that are alike the one with the least stays; null counts as the last. None: all are the same."""

    within: str | None = None
    """Text; rows in which it differs are not compared. None: all are."""

    @property
    def names(self) -> list[str]:
        """The columns themselves, each once."""
        return [*dict.fromkeys(filter(None, (self.id, self.text, self.priority, self.within)))]

    def select(self, rows: pa.RecordBatch, first_number: int) -> pa.Table:
        """Return `number` (from the first on), `id`, `priority`, `text`, and `within` as a hash."""
        numbers = pa.array(range(first_number, first_number + len(rows)), pa.int64())
        priority = rows[self.priority].cast(pa.float64()) if self.priority else pa.repeat(0.0, len(rows))
        columns = {"number": numbers, "id": rows[self.id].cast(pa.string())}
        columns |= {"priority": priority.fill_null(float("inf")), "text": rows[self.text].cast(pa.large_string())}
        within = hash_texts(rows[self.within]) if self.within else np.zeros(len(rows), np.uint64)
        columns["within"] = pa.array(within)
        return pa.table(columns)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of rows; rows are numbered through all parts."""

    file: str
    """By its content: a stopped run leaves behind what the next one finds."""
    start: int
    num_rows: int

    @property
    def name(self) -> str:
        """What it is called by in phases: equal files may stand at several places."""
        return f"{self.start:012d}"


def stage_rows(rows: Dataset, columns: Columns, storage: Storage) -> list[Part]:
    """Write a dataset's blocks, each once, and return the parts in the order of their content.

    Raises:
        UserError: if a column is missing, or as a stage of the dataset raised it.
    """

    def stage(block: pa.Table) -> Iterator[pa.Table]:
        if len(block):
            yield to_report(_stage_block(block, columns, storage))

    staged = rows.map_batches(stage, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    found = sorted((report["file"], report["num_rows"]) for report in read_reports(staged))
    parts, start = [], 0
    for file, num_rows in found:
        parts.append(Part(file, start, num_rows))
        start += num_rows
    return parts


def read_part(storage: Storage, part: Part, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part, all columns or some, a few megabytes at a time.

    Raises:
        StorageError: if the file is gone, or is not as it was written.
    """
    path = f"{ROWS}/{part.file}.arrow"
    with storage.open(path) as stream:
        schema = pa.ipc.open_file(stream).schema
        fields = None if names is None else [schema.get_field_index(name) for name in names]
        reader = pa.ipc.open_file(stream, options=pa.ipc.IpcReadOptions(included_fields=fields))
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _stage_block(block: pa.Table, columns: Columns, storage: Storage) -> Row:
    missing = [name for name in columns.names if name not in block.column_names]
    if missing:
        raise UserError(f"rows have no column {', '.join(missing)}; they have {', '.join(block.column_names)}")
    if block[columns.id].null_count:
        raise UserError(
            f"{block[columns.id].null_count} rows have no `{columns.id}`; which of two rows stays goes by it"
        )
    sink = pa.BufferOutputStream()
    rows_at_once = max(1, len(block) * BATCH_BYTES // max(block.nbytes, 1))
    with pa.ipc.new_file(sink, block.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(block, max_chunksize=rows_at_once)
    content = sink.getvalue()
    file = hashlib.blake2b(content, digest_size=16).hexdigest()
    report = {"file": file, "num_rows": len(block)}
    if read_report(storage, f"{ROWS}/{file}.json") is None:
        storage.write(f"{ROWS}/{file}.arrow", content.to_pybytes())
        write_report(storage, ROWS, file, report)
    return report
