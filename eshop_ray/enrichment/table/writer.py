"""The one that commits: each version adds and removes files in one entry of the log.

The right to write is an epoch: a Delta transaction number that every entry of a run repeats. Nothing has to be
released: a killed run's right ends when the next run begins an epoch.
"""

import errno
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.log_damage import drop_broken_hint
from eshop_ray.enrichment.table.staged import delete_staged, forget_staged
from eshop_ray.enrichment.table.table import Table, read_snapshot
from eshop_ray.errors import UserError

APP_ID = "eshop_ray"
"""Application whose transaction number is the epoch."""

CHECKPOINT_INTERVAL = 10
"""Versions between checkpoints: readers replay fewer entries than this."""

_MAX_ATTEMPTS = 100
_NUM_SHOWN = 5
_NUM_LOOKED_AT = 20
"""Entries among which a commit is looked for whose answer got lost."""


class TableSupersededError(UserError):
    """Another run writes this table now; this one has to end."""


class Writer:
    """A run's right to commit, until another run takes it."""

    def __init__(self, table: Table, run_id: str) -> None:
        """Take the table, and tidy away what runs before staged and did not commit.

        Raises:
            UserError: if there is no table or its storage refuses.
        """
        self._table, self._run_id = table, run_id
        self._delta = self._begin_epoch()
        self.snapshot = read_snapshot(table, self._delta)
        """The state at the start."""
        self._files = {file.path: file for file in self.snapshot.files}
        delete_staged(table.storage, self._files.values())

    def refresh(self) -> None:
        """Let `snapshot` be the state now."""
        self.snapshot = read_snapshot(self._table, self._delta)

    @property
    def version(self) -> int:
        """The newest version that this run knows."""
        return self._delta.version()

    @property
    def files(self) -> Sequence[DataFile]:
        """The files of that version."""
        return tuple(self._files.values())

    def files_of(self, bucket: int) -> list[DataFile]:
        """Return those of a bucket."""
        return [file for file in self._files.values() if file.bucket == bucket]

    def commit(self, added: Sequence[DataFile], removed: Sequence[DataFile], is_change: bool = True) -> int:
        """Add and remove files, all at once, and return the version that holds it.

        Args:
            added: What `Table.write_rows` returned.
            removed: Some of `files`.
            is_change: Whether rows change; False: they only stand in other files.

        Raises:
            TableSupersededError: if another run has started.
            UserError: if another program changed the table, or its storage refuses; the table is then as before.
        """
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(
                path=file.path,
                data_change=is_change,
                deletion_timestamp=now,
                partition_values=dict(file.partition),
                size=file.size,
            )
            for file in removed
        ]
        actions += [_to_add(file, is_change) for file in added]
        if actions:
            self._catch_up()
            gone = {file.path for file in removed}
            expected = {path: file for path, file in self._files.items() if path not in gone}
            expected |= {file.path: file for file in added}
            self._append(actions, "ENRICH" if is_change else "COMPACT")
            forget_staged(self._table.storage, self._run_id, added)
            self._files = self._review(expected)
        return self.version

    def check_epoch(self) -> None:
        """Notice a run that has started since the last commit.

        Raises:
            TableSupersededError: if there is one.
        """
        self._check_epoch(self._reload())

    def find_version(self, run_id: str) -> int:
        """Return the version that a run left.

        Raises:
            UserError: if the log knows no such run.
        """
        with self._table.storage.explain("read"):
            infos = self._delta.history()
        known = {info["runId"]: info["version"] for info in reversed(infos) if "runId" in info}
        known.pop(self._run_id, None)
        if run_id not in known:
            recent = ", ".join(list(known)[-_NUM_SHOWN:]) or "none"
            raise UserError(
                f"{self._table.storage.shown}: no run {run_id} in its log; the last ones are {recent}. Each row of the "
                "table names the run that made it"
            )
        return int(known[run_id])

    def restore(self, run_id: str) -> int:
        """Bring the table back to how a run left it, and return the version that was.

        Raises:
            UserError: if the log knows no such run, or files of that version are gone.
        """
        version = self.find_version(run_id)
        try:
            self._delta.restore(
                version,
                commit_properties=CommitProperties(
                    custom_metadata={"runId": self._run_id, "eshopRay": "ROLLBACK"},
                    app_transactions=[Transaction(APP_ID, self._number)],
                ),
            )
        except DeltaError as error:
            raise UserError(
                f"{self._table.storage.shown}: version {version}, which run {run_id} left, cannot be restored: its "
                "files have been deleted after `table.retention_hours`"
            ) from error
        except OSError as error:
            raise self._table.storage.trouble("written", error) from error
        self._delta = self._reload()
        self.refresh()
        self._files = {file.path: file for file in self.snapshot.files}
        return version

    def tidy(self, retention_hours: float) -> None:
        """Delete files that no version of the last hours needs, and entries of the log that no reader needs.

        Only what the table's own log names is deleted.

        Raises:
            UserError: if another run has started, or the storage refuses.
        """
        self.check_epoch()
        delete_staged(self._table.storage, self.files, self._run_id)
        try:
            self._delta.vacuum(int(retention_hours), dry_run=False, enforce_retention_duration=False)
            self._delta.update_incremental()
            self._delta.cleanup_metadata()
        except (DeltaError, OSError) as error:
            raise self._table.storage.trouble("written", error) from error

    def _begin_epoch(self) -> DeltaTable:
        drop_broken_hint(self._table.storage)
        for _ in range(_MAX_ATTEMPTS):
            delta = self._table.load()
            self._number = self._read_number(delta) + 1
            commit_id = uuid4().hex
            try:
                self._put(delta, [], "START", commit_id)
            except CommitFailedError:
                continue
            except (DeltaError, OSError) as error:
                raise self._table.storage.trouble("written", error) from error
            delta = self._table.load()
            if self._read_number(delta) == self._number and self._has_commit(delta, commit_id):
                return delta
        raise UserError(f"table {self._table.storage.shown} is written by others without a pause; run it again later")

    def _reload(self) -> DeltaTable:
        """Return the table at its newest version; one that is gone by now is trouble of the storage."""
        found = self._table.find()
        if found is None:
            gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            raise self._table.storage.trouble("read", gone)
        return found

    def _append(self, actions: Sequence[AddAction | RemoveAction], operation: str) -> None:
        """Write the next entry; where the answer of the storage got lost, the log itself says whether it is there."""
        commit_id = uuid4().hex
        trouble: Exception | None = None
        try:
            self._put(self._delta, actions, operation, commit_id)
        except (DeltaError, OSError) as error:
            trouble = error
        found = self._reload()
        if trouble is not None and not self._has_commit(found, commit_id):
            self._check_epoch(found)
            if isinstance(trouble, CommitFailedError):
                raise self._changed_by_others() from trouble
            raise self._table.storage.trouble("written", trouble) from trouble
        self._check_epoch(found)
        self._delta = found
        if self.version % CHECKPOINT_INTERVAL == 0:
            self._checkpoint()

    def _catch_up(self) -> None:
        """See what others have done since the last commit: the log takes the removal of a file that is gone already.

        Raises:
            TableSupersededError: if another run has started.
            UserError: if others have removed files that this run relies on.
        """
        found = self._reload()
        self._check_epoch(found)
        self._delta = found
        self._files = self._review(self._files)

    def _review(self, expected: Mapping[str, DataFile]) -> dict[str, DataFile]:
        """Return the table's files, among them those that another program appended.

        Raises:
            UserError: if others have removed files that this run relies on.
        """
        found = {file.path: file for file in read_snapshot(self._table, self._delta).files}
        if not expected.keys() <= found.keys():
            raise self._changed_by_others()
        return found

    def _changed_by_others(self) -> UserError:
        return UserError(
            f"table {self._table.storage.shown} was changed by another program while this run wrote; nothing is lost: "
            "run it again"
        )

    def _put(
        self, delta: DeltaTable, actions: Sequence[AddAction | RemoveAction], operation: str, commit_id: str
    ) -> None:
        delta.create_write_transaction(
            list(actions),
            "append",
            delta.schema(),
            partition_by=list(self._table.partition_by),
            commit_properties=CommitProperties(
                custom_metadata={"runId": self._run_id, "commitId": commit_id, "eshopRay": operation},
                app_transactions=[Transaction(APP_ID, self._number)],
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )

    def _check_epoch(self, found: DeltaTable) -> None:
        with self._table.storage.explain("read"):
            if self._read_number(found) == self._number:
                return
            infos = [info for info in found.history(_NUM_LOOKED_AT) if info.get("eshopRay") == "START"]
        info: Mapping[str, Any] = infos[0] if infos else {}
        at = datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC).isoformat(" ", "seconds")
        raise TableSupersededError(
            f"another run ({info.get('runId', 'unknown')}) took over the table {self._table.storage.shown} at "
            f"{at}; what this run committed stays: start it again when that one has ended"
        )

    def _read_number(self, delta: DeltaTable) -> int:
        with self._table.storage.explain("read"):
            return delta.transaction_version(APP_ID) or 0

    def _has_commit(self, delta: DeltaTable, commit_id: str) -> bool:
        with self._table.storage.explain("read"):
            return any(info.get("commitId") == commit_id for info in delta.history(_NUM_LOOKED_AT))

    def _checkpoint(self) -> None:
        """Sum up the log in one file; where that fails, readers only have more to read."""
        try:
            self._delta.create_checkpoint()
        except (DeltaError, OSError, ValueError):
            return


def _to_add(file: DataFile, is_change: bool) -> AddAction:
    stats = f'{{"numRecords":{file.num_rows}}}'
    return AddAction(file.path, file.size, dict(file.partition), file.modified_ms, is_change, stats)
