"""The right to write a table's log: the run that began the latest epoch has it.

An epoch is a Delta transaction number that every entry of a run repeats. Nothing has to be released: a killed run's
right ends when the next run begins an epoch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from eshop_ray.enrichment.table.log import Action, Log
from eshop_ray.enrichment.table.snapshot import Snapshot
from eshop_ray.enrichment.table.storage import StorageError
from eshop_ray.enrichment.table.table import Table
from eshop_ray.errors import UserError

APP_ID = "eshop_ray"
"""Application whose transaction number is the epoch."""

CHECKPOINT_INTERVAL = 10
"""Versions between checkpoints: readers replay fewer entries than this."""

_MAX_ATTEMPTS = 100

Entry = Sequence[Action]
Review = Callable[[Entry], None]
"""Takes note of another writer's entry, or raises where it is in the way."""


class TableSupersededError(UserError):
    """Another run writes this table now; this one has to end."""


class EpochLog:
    """A table's log as the run that holds the epoch appends to it."""

    def __init__(self, table: Table, run_id: str) -> None:
        """Begin an epoch.

        Raises:
            UserError: if there is no table or its storage refuses.
        """
        self._table, self._run_id = table, run_id
        self._log = Log(table.storage)
        self.snapshot = self._begin_epoch()
        self.version = self.snapshot.version
        """The newest version that this run knows."""

    def append(self, operation: str, actions: Entry, review: Review) -> None:
        """Write the next entry, behind those of others that `review` lets pass.

        Raises:
            TableSupersededError: if another run has begun an epoch since.
            UserError: if `review` refuses an entry, or the storage this one; the table is then as before.
        """
        for _ in range(_MAX_ATTEMPTS):
            if self._put(self.version + 1, operation, actions):
                self.version += 1
                if self.version % CHECKPOINT_INTERVAL == 0:
                    self._table.checkpoint(self.version)
                return
            self.catch_up(review)
        raise self._busy()

    def catch_up(self, review: Review) -> None:
        """Read what others have written since.

        Raises:
            TableSupersededError: if another run has begun an epoch since.
            UserError: if `review` refuses an entry.
        """
        while (entry := self._log.read(self.version + 1)) is not None:
            self._check_epoch(entry)
            review(entry)
            self.version += 1

    def _begin_epoch(self) -> Snapshot:
        for _ in range(_MAX_ATTEMPTS):
            current = self._table.snapshot()
            self._number = current.transactions.get(APP_ID, 0) + 1
            if self._put(current.version + 1, "ENRICH START", []):
                transactions = {**current.transactions, APP_ID: self._number}
                return replace(current, version=current.version + 1, transactions=transactions)
        raise self._busy()

    def _put(self, version: int, operation: str, actions: Entry) -> bool:
        """Write one entry; where the answer of the storage got lost, the entry itself says whether it is ours."""
        commit_id, now = uuid4().hex, now_ms()
        info = {
            "timestamp": now,
            "operation": operation,
            "operationParameters": {},
            "engineInfo": "eshop_ray",
            "runId": self._run_id,
            "commitId": commit_id,
        }
        epoch = {"appId": APP_ID, "version": self._number, "lastUpdated": now}
        try:
            if self._log.create(version, [{"commitInfo": info}, {"txn": epoch}, *actions]):
                return True
        except StorageError:
            if not self._is_ours(version, commit_id):
                raise
            return True
        return self._is_ours(version, commit_id)

    def _is_ours(self, version: int, commit_id: str) -> bool:
        return find_info(self._log.read(version) or ()).get("commitId") == commit_id

    def _check_epoch(self, entry: Entry) -> None:
        numbers = [action["txn"]["version"] for action in entry if action.get("txn", {}).get("appId") == APP_ID]
        if numbers and max(numbers) > self._number:
            info = find_info(entry)
            at = datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC).isoformat(" ", "seconds")
            raise TableSupersededError(
                f"another run ({info.get('runId', 'unknown')}) took over the table {self._table.storage.shown} at "
                f"{at}; what this run committed stays: start it again when that one has ended"
            )

    def _busy(self) -> UserError:
        return UserError(f"table {self._table.storage.shown} is written by others without a pause; run it again later")


def find_info(entry: Entry) -> Mapping[str, Any]:
    """Return who wrote an entry, when and why, as far as it says so."""
    found: Mapping[str, Any] = next((action["commitInfo"] for action in entry if "commitInfo" in action), {})
    return found


def now_ms() -> int:
    """Return the time as Delta writes it."""
    return int(time.time() * 1000)
