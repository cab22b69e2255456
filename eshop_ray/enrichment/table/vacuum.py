"""Deleting what no version within the retention needs: expired log entries, superseded files, orphans of killed runs.

Delta's own vacuum forgets a removed file when a checkpoint drops its tombstone (after a week, whatever the
retention), and measures age by this machine's clock. Here the log itself says what is needed, and the storage's
clock how old a file is: a file that a newer run has written is never older than the last commit of this one.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.log import LOG_FOLDER, NUM_THREADS, Log, entry_path
from eshop_ray.enrichment.table.storage import StoredFile
from eshop_ray.enrichment.table.table import Table
from eshop_ray.enrichment.table.writer import Writer
from eshop_ray.errors import UserError

_FOR_EVER = 24 * 365 * 100
_SUFFIXES = {".parquet", ".bin"}


@dataclass(frozen=True, slots=True)
class _History:
    """The table's log as files, and the oldest version that is kept."""

    cutoff: datetime
    kept: int
    """The version that was the newest at the cutoff."""
    newest: int
    files: tuple[tuple[int, StoredFile], ...]


def vacuum(table: Table, writer: Writer, retention_hours: float) -> int:
    """Delete what no version of the last hours needs and return the number of files deleted.

    Raises:
        TableSupersededError: if another run has started: its files are not ours to judge.
        StorageError: if the storage refuses.
    """
    history = _read_history(table, writer.version, retention_hours)
    needed = _list_needed(table, history)
    writer.check_epoch()
    unneeded = [
        file.path
        for file in table.storage.list()
        if file.path not in needed and file.modified < history.cutoff and _is_data(file.path)
    ]
    first_kept = _first_kept_version(history)
    expired = [file.path for version, file in history.files if version < first_kept]
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        list(threads.map(table.storage.delete, unneeded))
    for path in sorted(expired):  # oldest first: a kill leaves no gap
        table.storage.delete(path)
    return len(unneeded) + len(expired) + table.storage.delete_partial(history.cutoff)


def _read_history(table: Table, newest: int, retention_hours: float) -> _History:
    files = tuple(Log(table.storage).list_files())
    entries = {version: file.modified for version, file in files if file.path == entry_path(version)}
    if newest not in entries:
        raise UserError(f"{table.storage.shown}: version {newest} is missing from its log; run it again")
    cutoff = entries[newest] - timedelta(hours=min(retention_hours, _FOR_EVER))
    readable = 0 if 0 in entries else min(_checkpoints(files))
    kept = max([readable, *(version for version, modified in entries.items() if modified <= cutoff)])
    return _History(cutoff, kept, newest, files)


def _list_needed(table: Table, history: _History) -> set[str]:
    """Return the files of the kept versions, by their paths in the storage."""
    files = list(table.snapshot(history.kept).files)
    for entry in Log(table.storage).read_range(range(history.kept + 1, history.newest + 1)):
        files += [DataFile.from_action(action["add"]) for action in entry or () if "add" in action]
    vectors = (file.deletion_vector.path for file in files if file.deletion_vector is not None)
    return {file.name for file in files} | {path for path in vectors if path is not None}


def _first_kept_version(history: _History) -> int:
    """Return the first version of the log that a reader of the kept versions needs: the checkpoint before them."""
    return max((version for version in _checkpoints(history.files) if version <= history.kept), default=0)


def _checkpoints(files: Iterable[tuple[int, StoredFile]]) -> list[int]:
    return [version for version, file in files if file.path != entry_path(version)]


def _is_data(path: str) -> bool:
    """Leave alone what is hidden from Delta's readers and what no Delta writer makes."""
    parts = PurePosixPath(path).parts
    return (
        parts[0] != LOG_FOLDER
        and not any(part[0] in "._" for part in parts)
        and PurePosixPath(path).suffix in _SUFFIXES
    )
