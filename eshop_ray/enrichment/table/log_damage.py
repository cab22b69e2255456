"""Files of a table's log that cannot be read, by name, and how they are set aside.

Reading a table needs its newest checkpoint and the entries after it. A damaged checkpoint costs nothing while the
entries since an earlier one stand; a damaged entry costs itself and all after it.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from eshop_ray.enrichment.table.staged import RUN_FOLDER
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage

LOG_FOLDER = "_delta_log"
_HINT = f"{LOG_FOLDER}/_last_checkpoint"
_ENTRY = re.compile(rf"{LOG_FOLDER}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG_FOLDER}/(\d{{20}})\.checkpoint(?:\..+)?\.(?:parquet|json)")
_WHOLE = ".checkpoint.parquet"
"""How the name of a checkpoint ends that is one file, as `deltalake` writes it; others are taken as they are."""
_ASIDE = f"{RUN_FOLDER}/damaged"


@dataclass(frozen=True, slots=True)
class LogDamage:
    """One file of the log that cannot be read."""

    path: str
    """Relative to the table."""
    trouble: str
    """In a few words."""
    version: int
    is_entry: bool
    """Whether it says what changed; else it only sums up, or names what does."""


def find_log_damage(storage: Storage) -> list[LogDamage]:
    """Return what is damaged of the files that the newest version is read from, checkpoints first.

    Raises:
        StorageError: if the storage cannot be read.
    """
    paths = [file.path for file in storage.list(LOG_FOLDER)]
    checkpoints = _number(paths, _CHECKPOINT)
    damaged, newest_sound = _check_checkpoints(storage, checkpoints)
    hinted = _read_hint(storage)
    if hinted is not None and hinted > newest_sound and hinted not in {one.version for one in damaged}:
        trouble = f"names the checkpoint of version {hinted}, which is missing"
        damaged.append(LogDamage(_HINT, trouble, hinted, is_entry=False))
    entries = _number(paths, _ENTRY)
    damaged += _check_entries(storage, entries, newest_sound)
    return damaged or _find_refused(storage, entries, checkpoints, newest_sound)


def find_empty_entries(storage: Storage) -> list[str]:
    """Return entries after the newest checkpoint that are empty: readers take them for versions that change nothing.

    Raises:
        StorageError: if the storage cannot be listed.
    """
    files = list(storage.list(LOG_FOLDER))
    newest = max(_number([file.path for file in files], _CHECKPOINT), default=-1)
    entries = {int(match[1]): file for file in files if (match := _ENTRY.fullmatch(file.path))}
    return [entries[version].path for version in sorted(entries) if version > newest and not entries[version].size]


def open_version(storage: Storage, version: int | None = None) -> DeltaTable:
    """Return a version of a table, by default the newest.

    Raises:
        DeltaError: if its log cannot be read.
        OSError: if the storage cannot be read.
        ValueError: if an entry makes no sense.
    """
    with panics_as_errors():
        return DeltaTable(storage.uri, version=version, storage_options=storage.options)


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise `DeltaError` where `deltalake` breaks on damaged bytes: what it raises then is no `Exception`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise DeltaError("its reader broke") from error
        raise


def drop_broken_hint(storage: Storage) -> None:
    """Delete `_last_checkpoint` where it names none that is there: with it no new checkpoint can be written.

    Raises:
        StorageError: if the storage refuses.
    """
    hinted = _read_hint(storage)
    if hinted is not None:
        sizes = {file.path: file.size for file in storage.list(LOG_FOLDER)}
        if not any(size and path.startswith(f"{LOG_FOLDER}/{hinted:020d}.checkpoint") for path, size in sizes.items()):
            storage.delete(_HINT)


def set_aside(storage: Storage, damaged: Sequence[LogDamage]) -> list[str]:
    """Take damaged files out of the log, and all entries after the first that is; return what was moved.

    They are kept in the table's folder, below `_eshop_ray/damaged`.

    Raises:
        StorageError: if the storage refuses.
        UserError: if no version could be read without them; nothing is moved then.
    """
    paths = [file.path for file in storage.list(LOG_FOLDER)]
    first = min((one.version for one in damaged if one.is_entry), default=None)
    if first == 0:
        one = next(one for one in damaged if one.is_entry)
        raise UserError(
            f"{storage.shown}: no version can be read any more, for {one.path} {one.trouble}; restore `{LOG_FOLDER}` "
            "from a copy, or start a new table with another `table.uri`"
        )
    moved = {one.path for one in damaged} & set(paths)
    for pattern in (_ENTRY, _CHECKPOINT):
        moved |= {path for version, path in _number(paths, pattern).items() if first is not None and version >= first}
    storage.delete(_HINT)  # it may name what is gone; readers list the log without it
    for path in sorted(
        moved - {_HINT}, reverse=True
    ):  # from the newest: cut off, no entry is left without those before
        storage.write(f"{_ASIDE}/{path.rpartition('/')[2]}", storage.read(path) or b"")
        storage.delete(path)
    return sorted(moved)


def _number(paths: Sequence[str], pattern: re.Pattern[str]) -> dict[int, str]:
    """Return version -> path of the files of one kind."""
    return {int(match[1]): path for path in paths if (match := pattern.fullmatch(path))}


def _check_checkpoints(storage: Storage, checkpoints: Mapping[int, str]) -> tuple[list[LogDamage], int]:
    """Return damaged ones, and the version of the newest that is sound; -1 where there is none."""
    damaged: list[LogDamage] = []
    for version in sorted(checkpoints, reverse=True):
        if not checkpoints[version].endswith(_WHOLE):
            return damaged, version
        try:
            pq.read_table(io.BytesIO(storage.read(checkpoints[version]) or b""))
        except (pa.ArrowException, OSError):
            damaged.append(LogDamage(checkpoints[version], "is no whole checkpoint", version, is_entry=False))
        else:
            return damaged, version
    return damaged, -1


def _read_hint(storage: Storage) -> int | None:
    try:
        return int(json.loads(storage.read(_HINT) or b"null")["version"])
    except (ValueError, TypeError, KeyError):
        return None  # readers do without it


def _check_entries(storage: Storage, entries: Mapping[int, str], checkpoint: int) -> list[LogDamage]:
    damaged = []
    for version in range(checkpoint + 1, max(entries, default=-1) + 1):
        path = entries.get(version, f"{LOG_FOLDER}/{version:020d}.json")
        trouble = _check_entry(storage.read(path))
        if trouble:
            damaged.append(LogDamage(path, trouble, version, is_entry=True))
    return damaged


def _find_refused(
    storage: Storage, entries: Mapping[int, str], checkpoints: Mapping[int, str], checkpoint: int
) -> list[LogDamage]:
    """Return the first entry, or the checkpoint, that is whole and that `deltalake` refuses all the same."""
    refused: list[LogDamage] = []
    for version in sorted((one for one in entries if one >= checkpoint - 1), reverse=True):
        try:
            with panics_as_errors():
                open_version(storage, version).get_add_actions(flatten=True)
        except (DeltaError, OSError, ValueError):
            is_entry = version != checkpoint
            path = entries[version] if is_entry else checkpoints[version]
            refused = [LogDamage(path, "is refused by its reader", version, is_entry)]
        else:
            return refused
    return []  # what refuses every version is the storage


def _check_entry(content: bytes | None) -> str | None:
    if content is None:
        return "is missing"
    if not content.strip():
        return "is empty"
    try:
        actions = [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError:
        return "is cut off or changed"
    return None if all(isinstance(action, dict) for action in actions) else "is cut off or changed"
