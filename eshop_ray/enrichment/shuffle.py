"""A shuffle through files: rows leave a task divided into buckets, and a later task reads one bucket of all parts.

Memory holds one part while writing and one bucket while reading, whatever the size of the whole. A part is written
under its own name and put in place at once, so a task that runs twice leaves one part, not two.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

_BUCKETS = b"buckets"


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A folder of parts, each an Arrow IPC file with one record batch per bucket that it has rows of."""

    folder: str
    """Where all nodes see it."""

    def write(self, part: str, rows: Iterable[tuple[int, Mapping[str, Any]]], schema: pa.Schema) -> None:
        """Write one part.

        Args:
            part: Its name; the same task always gives the same one.
            rows: (bucket, row) in any order.
            schema: Columns of the rows.
        """
        ordered = sorted(rows, key=lambda item: item[0])
        if not ordered:
            return
        groups = [(bucket, [row for _, row in group]) for bucket, group in groupby(ordered, key=lambda item: item[0])]
        marked = schema.with_metadata({_BUCKETS: json.dumps([bucket for bucket, _ in groups])})
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / f".{part}.{uuid.uuid4().hex}"
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(staged), "wb") as sink, pa.ipc.new_file(sink, marked, options=options) as writer:
            for _, members in groups:
                writer.write_batch(pa.RecordBatch.from_pylist(members, schema=marked))
        staged.replace(folder / f"{part}.arrow")

    def read(self, buckets: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the rows of some buckets, part by part in the order of the parts' names."""
        wanted = set(buckets)
        for path in sorted(Path(self.folder).glob("[!.]*.arrow")):
            with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as reader:
                held = json.loads(reader.schema.metadata[_BUCKETS])
                for index, bucket in enumerate(held):
                    if bucket in wanted:
                        yield from reader.get_batch(index).to_pylist()
