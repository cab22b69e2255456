"""The one that commits: each version adds files and removes the rows that they supersede, in one log entry."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pyroaring import BitMap64

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.deletion import encode
from eshop_ray.enrichment.table.log import Action, Log
from eshop_ray.enrichment.table.snapshot import Snapshot
from eshop_ray.enrichment.table.storage import StorageError
from eshop_ray.enrichment.table.table import Table
from eshop_ray.errors import UserError

APP_ID = "eshop_ray"
"""Application whose transaction number is the fence: the run that raised it last is the one that may commit."""

REWRITE_BYTES = 8 << 20
"""Files of at most this size together are rewritten without the removed rows, so that a small shop's table needs no
deletion vectors and stays readable by everything."""

_MAX_ATTEMPTS = 100


class TableTaken(UserError):  # noqa: N818 - what happened, not what went wrong
    """Another run writes this table now; this one has to end."""


@dataclass(frozen=True, slots=True)
class _Tracked:
    """A file that callers know, immutable, and what stands for it in the table now."""

    original: DataFile
    current: DataFile | None
    """The original, perhaps with a deletion vector; a file with its remaining rows; or None: no row remains."""
    deleted: BitMap64 | None = field(default=None, compare=False)
    """Removed rows, by their numbers in the original; None: as at the start."""


class Writer:
    """A run's right to commit, until another run takes it.

    Nothing has to be released: a killed run's right ends when the next run starts. Rows to remove are named by their
    physical numbers in the files of `snapshot` or in those that this run added, however often these have been
    rewritten since.
    """

    def __init__(self, table: Table, run_id: str, rewrite_bytes: int = REWRITE_BYTES) -> None:
        """Take the table.

        Raises:
            UserError: if there is no table or its storage refuses.
        """
        self._table, self._run_id, self._rewrite_bytes = table, run_id, rewrite_bytes
        self._log = Log(table.storage)
        self.snapshot = self._take()
        self._version, self._protocol, self._metadata = (
            self.snapshot.version,
            self.snapshot.protocol,
            self.snapshot.metadata,
        )
        self._tracked = {file.path: _Tracked(file, file) for file in self.snapshot.files}

    @property
    def version(self) -> int:
        """The version that this run knows as the newest."""
        return self._version

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The files of that version."""
        return tuple(entry.current for entry in self._tracked.values() if entry.current is not None)

    def commit(self, added: Sequence[DataFile], deleted: Mapping[str, Iterable[int]]) -> int:
        """Add files and remove rows, all at once, and return the version that holds it.

        Args:
            added: What `Table.write_file` returned.
            deleted: Path of a file -> physical numbers of rows in it; rows that are gone already are no trouble.

        Raises:
            TableTaken: if another run has started.
            UserError: if another program changed the table, or its storage refuses; the table is then as before.
        """
        changed = self._shrink(deleted)
        actions = [action for entry in changed for action in self._swap(entry)]
        actions += [file.to_add() for file in added]
        if actions:
            self._append("ENRICH", [*self._upgrade(changed), *actions])
        self._tracked |= {entry.original.path: entry for entry in changed}
        self._tracked |= {file.path: _Tracked(file, file) for file in added}
        return self._version

    def replace(self, old: Sequence[DataFile], new: DataFile) -> int:
        """Put one file with the same rows in the place of some of `files`; their paths are not known any more.

        Raises:
            TableTaken, UserError: as `commit` does.
        """
        now = _now()
        self._append("OPTIMIZE", [*(file.to_remove(now, is_change=False) for file in old), new.to_add(is_change=False)])
        gone = {file.path for file in old}
        self._tracked = {
            path: entry for path, entry in self._tracked.items() if entry.current and entry.current.path not in gone
        }
        self._tracked[new.path] = _Tracked(new, new)
        return self._version

    def check_fence(self) -> None:
        """Notice a run that started since the last commit.

        Raises:
            TableTaken: if there is one.
            UserError: if another program changed the table.
        """
        while (entry := self._log.read(self._version + 1)) is not None:
            self._review(entry)
            self._version += 1

    def _take(self) -> Snapshot:
        for _ in range(_MAX_ATTEMPTS):
            current = self._table.snapshot()
            self._fence = current.transactions.get(APP_ID, 0) + 1
            if self._put(current.version + 1, "ENRICH START", []):
                transactions = {**current.transactions, APP_ID: self._fence}
                return replace(current, version=current.version + 1, transactions=transactions)
        raise self._busy()

    def _append(self, operation: str, actions: Sequence[Action]) -> None:
        """Write the next entry, behind those that others have written and that leave our files alone."""
        for _ in range(_MAX_ATTEMPTS):
            if self._put(self._version + 1, operation, actions):
                self._version += 1
                return
            self.check_fence()
        raise self._busy()

    def _put(self, version: int, operation: str, actions: Sequence[Action]) -> bool:
        """Write one entry; where the answer of the storage got lost, the entry itself says whether it is ours."""
        commit_id, now = uuid4().hex, _now()
        info = {
            "timestamp": now,
            "operation": operation,
            "operationParameters": {},
            "engineInfo": "eshop_ray",
            "runId": self._run_id,
            "commitId": commit_id,
        }
        fence = {"appId": APP_ID, "version": self._fence, "lastUpdated": now}
        try:
            if self._log.create(version, [{"commitInfo": info}, {"txn": fence}, *actions]):
                return True
        except StorageError:
            if not self._is_ours(version, commit_id):
                raise
            return True
        return self._is_ours(version, commit_id)

    def _is_ours(self, version: int, commit_id: str) -> bool:
        return _info(self._log.read(version) or []).get("commitId") == commit_id

    def _review(self, entry: Sequence[Action]) -> None:
        """Take note of another writer's entry, or stop where it is in our way."""
        info = _info(entry)
        for action in entry:
            txn = action.get("txn", {})
            if txn.get("appId") == APP_ID and txn["version"] > self._fence:
                raise self._taken(info)
        current = {file.path for file in self.files}
        is_removed = any(action["remove"]["path"] in current for action in entry if "remove" in action)
        if is_removed or any("protocol" in action or "metaData" in action for action in entry):
            raise UserError(
                f"table {self._table.storage.shown} was changed by {info.get('operation', 'another program')} while "
                "this run wrote; nothing is lost: run it again"
            )
        for action in entry:
            if "add" in action:
                file = DataFile.from_action(action["add"])
                self._tracked[file.path] = _Tracked(file, file)

    def _shrink(self, deleted: Mapping[str, Iterable[int]]) -> list[_Tracked]:
        """Return the files that lose rows, as they will stand in the table."""
        grown = []
        for path, positions in deleted.items():
            entry = self._tracked[path]
            before = self._table.deleted(entry.original) if entry.deleted is None else entry.deleted
            after = before | BitMap64(positions)
            if len(after) and after.max() >= entry.original.num_rows:
                raise ValueError(f"{path} has no row {after.max()}")
            if len(after) > len(before):
                grown.append(replace(entry, deleted=after))
        is_small = sum(entry.original.size for entry in grown) <= self._rewrite_bytes
        return [replace(entry, current=self._remainder(entry.original, entry.deleted, is_small)) for entry in grown]

    def _remainder(self, original: DataFile, deleted: BitMap64 | None, is_small: bool) -> DataFile | None:
        assert deleted is not None
        if len(deleted) == original.num_rows:
            return None
        marked = replace(original, deletion_vector=encode(deleted))
        return self._table.merge([marked]) if is_small else marked

    def _swap(self, entry: _Tracked) -> list[Action]:
        """Return the actions that put a file's new state in the place of its present one."""
        before = self._tracked[entry.original.path].current
        actions = [] if before is None else [before.to_remove(_now())]
        return actions if entry.current is None else [*actions, entry.current.to_add()]

    def _upgrade(self, changed: Sequence[_Tracked]) -> list[Action]:
        """Return what the first deletion vector asks of the table's readers."""
        has_vector = any(entry.current is not None and entry.current.deletion_vector for entry in changed)
        if not has_vector or self._protocol.has_deletion_vectors:
            return []
        self._protocol = self._protocol.with_deletion_vectors()
        configuration = {**(self._metadata.get("configuration") or {}), "delta.enableDeletionVectors": "true"}
        self._metadata = {**self._metadata, "configuration": configuration}
        return [self._protocol.to_action(), {"metaData": dict(self._metadata)}]

    def _taken(self, info: Mapping[str, Any]) -> TableTaken:
        time_taken = datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC).isoformat(" ", "seconds")
        return TableTaken(
            f"another run ({info.get('runId', 'unknown')}) took over the table {self._table.storage.shown} at "
            f"{time_taken}; what this run committed stays: start it again when that one has ended"
        )

    def _busy(self) -> UserError:
        return UserError(f"table {self._table.storage.shown} is written by others without a pause; run it again later")


def _info(entry: Sequence[Action]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((action["commitInfo"] for action in entry if "commitInfo" in action), {})
    return found


def _now() -> int:
    return int(time.time() * 1000)
