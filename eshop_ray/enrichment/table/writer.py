"""The one that commits: each version adds files and removes the rows that they supersede, in one log entry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyroaring import BitMap64

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.log import Action
from eshop_ray.enrichment.table.protocol import Protocol
from eshop_ray.enrichment.table.table import Table
from eshop_ray.enrichment.table.writer_epoch import Entry, EpochLog, find_info, now_ms
from eshop_ray.errors import UserError

REWRITE_BYTES = 8 << 20
"""Where the files that lose rows have at most this size together, they are rewritten without them: a small shop's
table needs no deletion vectors and stays readable by everything, and no commit copies more than this."""


@dataclass(frozen=True, slots=True)
class _Tracked:
    """A file that callers know, immutable, and what stands for it in the table now."""

    original: DataFile
    current: DataFile | None
    """The original, perhaps with a deletion vector; a file with its remaining rows; or None: no row remains."""
    deleted: BitMap64 | None = field(default=None, compare=False)
    """Removed rows, by their numbers in the original; None: those that its own vector removes."""


class Writer:
    """A run's right to commit, until another run takes it.

    Rows to remove are named by their physical numbers in the files of `snapshot`, or in those that this run added,
    however often these have been rewritten since.
    """

    def __init__(self, table: Table, run_id: str, rewrite_bytes: int = REWRITE_BYTES) -> None:
        """Take the table.

        Raises:
            UserError: if there is no table or its storage refuses.
        """
        self._table, self._rewrite_bytes = table, rewrite_bytes
        self._log = EpochLog(table, run_id)
        self.snapshot = self._log.snapshot
        """The state at the start."""
        self._protocol, self._metadata = self.snapshot.protocol, self.snapshot.metadata
        self._tracked = {file.path: _Tracked(file, file) for file in self.snapshot.files}

    @property
    def version(self) -> int:
        """The newest version that this run knows."""
        return self._log.version

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
            TableSupersededError: if another run has started.
            UserError: if another program changed the table, or its storage refuses; the table is then as before.
        """
        changed = self._shrink(deleted)
        actions = [action for entry in changed for action in self._swap(entry)]
        actions += [file.to_add() for file in added]
        protocol, metadata = self._demands(changed)
        if protocol != self._protocol:
            actions = [protocol.to_action(), {"metaData": dict(metadata)}, *actions]
        if actions:
            self._log.append("ENRICH", actions, self._review)
        self._protocol, self._metadata = protocol, metadata
        self._tracked |= {entry.original.path: entry for entry in changed}
        self._tracked |= {file.path: _Tracked(file, file) for file in added}
        return self.version

    def replace(self, old: Sequence[DataFile], new: DataFile) -> int:
        """Put one file with the same rows in the place of some of `files`; their paths are not known any more.

        Raises:
            TableSupersededError, UserError: as `commit` does.
        """
        removes = [file.to_remove(now_ms(), is_change=False) for file in old]
        self._log.append("OPTIMIZE", [*removes, new.to_add(is_change=False)], self._review)
        gone = {file.path for file in old}
        self._tracked = {
            path: entry for path, entry in self._tracked.items() if entry.current and entry.current.path not in gone
        }
        self._tracked[new.path] = _Tracked(new, new)
        return self.version

    def check_epoch(self) -> None:
        """Notice a run that has started since the last commit.

        Raises:
            TableSupersededError: if there is one.
            UserError: if another program changed the table.
        """
        self._log.catch_up(self._review)

    def _shrink(self, deleted: Mapping[str, Iterable[int]]) -> list[_Tracked]:
        """Return the files that lose rows, as they will stand in the table."""
        grown: list[tuple[DataFile, BitMap64]] = []
        for path, positions in deleted.items():
            entry = self._tracked[path]
            before = self._table.deleted(entry.original) if entry.deleted is None else entry.deleted
            after = before | BitMap64(positions)
            if len(after) and after.max() >= entry.original.num_rows:
                raise ValueError(f"{path} has no row {after.max()}")
            if len(after) > len(before):
                grown.append((entry.original, after))
        return self._remainders(grown)

    def _remainders(self, grown: Sequence[tuple[DataFile, BitMap64]]) -> list[_Tracked]:
        """Rewrite files without their deleted rows where that is little work; else mark the rows."""
        partial = [(original, deleted) for original, deleted in grown if len(deleted) < original.num_rows]
        if sum(original.size for original, _ in partial) <= self._rewrite_bytes:
            files = [self._table.rewrite(original, deleted) for original, deleted in partial]
        else:
            vectors = self._table.write_vectors(deleted for _, deleted in partial)
            files = [replace(file, deletion_vector=vector) for (file, _), vector in zip(partial, vectors, strict=True)]
        remainders = {original.path: file for (original, _), file in zip(partial, files, strict=True)}
        return [_Tracked(original, remainders.get(original.path), deleted) for original, deleted in grown]

    def _swap(self, entry: _Tracked) -> list[Action]:
        """Return the actions that put a file's new state in the place of its present one."""
        before = self._tracked[entry.original.path].current
        actions = [] if before is None else [before.to_remove(now_ms())]
        return actions if entry.current is None else [*actions, entry.current.to_add()]

    def _demands(self, changed: Sequence[_Tracked]) -> tuple[Protocol, Mapping[str, Any]]:
        """Return the table's protocol and metadata, raised where these files have its first deletion vectors."""
        has_vector = any(entry.current is not None and entry.current.deletion_vector for entry in changed)
        if not has_vector or self._protocol.has_deletion_vectors:
            return self._protocol, self._metadata
        configuration = {**self._metadata["configuration"], "delta.enableDeletionVectors": "true"}
        return self._protocol.with_deletion_vectors(), {**self._metadata, "configuration": configuration}

    def _review(self, entry: Entry) -> None:
        """Take note of files that another program appended; refuse an entry that touches what this run relies on."""
        current = {file.path for file in self.files}
        is_removed = any(action["remove"]["path"] in current for action in entry if "remove" in action)
        if is_removed or any("protocol" in action or "metaData" in action for action in entry):
            raise UserError(
                f"table {self._table.storage.shown} was changed by {find_info(entry).get('operation', 'others')} "
                "while this run wrote; nothing is lost: run it again"
            )
        for action in entry:
            if "add" in action:
                file = DataFile.from_action(action["add"])
                self._tracked[file.path] = _Tracked(file, file)
