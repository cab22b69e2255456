"""The entries of a Delta table's log: one JSON file per version, and checkpoints that sum up all before."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.enrichment.table.storage import Storage, StoredFile
from eshop_ray.errors import UserError

LOG_FOLDER = "_delta_log"
Action = dict[str, Any]
"""One line of an entry: `{"add": {...}}`, `{"txn": {...}}`, ..."""

_ENTRY = re.compile(rf"{LOG_FOLDER}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG_FOLDER}/(\d{{20}})\.checkpoint(?:\.(\d{{10}})\.(\d{{10}}))?\.parquet")
_V2_CHECKPOINT = re.compile(rf"{LOG_FOLDER}/\d{{20}}\.checkpoint\.[0-9a-f]{{8}}-[0-9a-f-]+\.(?:json|parquet)")
_CHECKPOINT_COLUMNS = [
    *("protocol", "metaData", "txn"),
    *(f"add.{name}" for name in ("path", "size", "modificationTime", "stats", "tags", "deletionVector")),
]
NUM_THREADS = 8
"""Requests to the store at one time."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files that hold a table's whole state at one version."""

    version: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What stands in the folder of the log."""

    newest: int
    """The newest version; -1 where there is no table."""
    checkpoints: tuple[Checkpoint, ...]
    """Complete ones, oldest first."""


class Log:
    """The log of one table."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def create(self, version: int, actions: Sequence[Action]) -> bool:
        """Write an entry if its version is free, all of it or nothing; return whether this call wrote it.

        Raises:
            StorageError: if the storage refuses or does not answer; the entry may then be there nevertheless.
        """
        lines = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions)
        return self._storage.create(entry_path(version), lines.encode())

    def read(self, version: int) -> list[Action] | None:
        """Return the actions of a version, or None where there is no such entry."""
        data = self._storage.read(entry_path(version))
        return None if data is None else [json.loads(line) for line in data.splitlines() if line.strip()]

    def read_range(self, versions: Sequence[int]) -> Iterator[list[Action] | None]:
        """Yield the actions of several versions, in order."""
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            yield from threads.map(self.read, versions)

    def read_checkpoint(self, checkpoint: Checkpoint) -> Iterator[Action]:
        """Yield the actions of a checkpoint that say what the table holds.

        Raises:
            FileNotFoundError: if one of its files is gone, as in the middle of somebody's clean-up.
        """
        for path in checkpoint.paths:
            data = self._storage.read(path)
            if data is None:
                raise FileNotFoundError(path)
            file = pq.ParquetFile(pa.BufferReader(data))
            for batch in file.iter_batches(columns=_CHECKPOINT_COLUMNS):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    yield from ({name: value} for value in column.drop_null().to_pylist())

    def list(self) -> Listing:
        """Return the newest version and the checkpoints, from the last known checkpoint on where there is one."""
        hint = self._read_hint()
        listing = self.list_all(offset=None if hint is None else f"{LOG_FOLDER}/{hint:020}")
        return listing if hint is None or listing.checkpoints else self.list_all()

    def list_all(self, offset: str | None = None) -> Listing:
        """Return the newest version and the checkpoints with names after `offset`.

        Raises:
            UserError: for a checkpoint of a kind that is not known.
        """
        newest, parts = -1, defaultdict[tuple[int, int], list[str]](list)
        for file in self._storage.list(LOG_FOLDER, offset):
            if _V2_CHECKPOINT.fullmatch(file.path):
                raise UserError(f"{self._storage.shown} has V2 checkpoints, which this job does not know")
            if match := _ENTRY.fullmatch(file.path):
                newest = max(newest, int(match[1]))
            elif match := _CHECKPOINT.fullmatch(file.path):
                parts[int(match[1]), int(match[3] or 1)].append(file.path)
        complete = [
            Checkpoint(version, tuple(sorted(paths)))
            for (version, num_parts), paths in sorted(parts.items())
            if len(paths) == num_parts
        ]
        return Listing(max([newest, *(checkpoint.version for checkpoint in complete)]), tuple(complete))

    def list_files(self) -> Iterator[tuple[int, StoredFile]]:
        """Yield every entry and checkpoint file with its version."""
        for file in self._storage.list(LOG_FOLDER):
            if match := _ENTRY.fullmatch(file.path) or _CHECKPOINT.fullmatch(file.path):
                yield int(match[1]), file

    def _read_hint(self) -> int | None:
        """Version of the last checkpoint by Delta's own note; a damaged note is no note."""
        try:
            return int(json.loads(self._storage.read(f"{LOG_FOLDER}/_last_checkpoint") or b"{}")["version"])
        except (ValueError, KeyError, TypeError):
            return None


def entry_path(version: int) -> str:
    """Where the entry of a version stands."""
    return f"{LOG_FOLDER}/{version:020}.json"
