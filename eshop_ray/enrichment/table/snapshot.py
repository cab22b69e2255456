"""A table's state at one version, replayed from its log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.log import Action, Listing, Log
from eshop_ray.enrichment.table.protocol import Protocol
from eshop_ray.enrichment.table.storage import Storage
from eshop_ray.errors import UserError

_NUM_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a table holds at one version."""

    version: int
    files: tuple[DataFile, ...]
    protocol: Protocol
    metadata: Mapping[str, Any]
    """Delta's `metaData` action: schema, partition columns, table properties."""
    transactions: Mapping[str, int]
    """Application id -> its last transaction version."""

    @property
    def num_rows(self) -> int:
        """Rows that a reader sees."""
        return sum(file.num_live for file in self.files)


@dataclass(slots=True)
class _State:
    """What the actions replayed so far add up to."""

    protocol: Protocol | None = None
    metadata: Mapping[str, Any] | None = None
    transactions: dict[str, int] = field(default_factory=dict)
    adds: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def apply(self, actions: Iterable[Action]) -> None:
        """Add one entry; within it a file's removal goes before its return with another deletion vector."""
        added = {}
        for action in actions:
            if "add" in action:
                added[action["add"]["path"]] = action["add"]
            elif "remove" in action:
                self.adds.pop(action["remove"]["path"], None)
            elif "txn" in action:
                self.transactions[action["txn"]["appId"]] = action["txn"]["version"]
            elif "protocol" in action:
                self.protocol = Protocol.from_action(action["protocol"])
            elif "metaData" in action:
                self.metadata = _plain(action["metaData"])
        self.adds.update(added)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as the log's JSON has it: in a checkpoint maps are lists of pairs and absent fields null."""
    known = {name: value for name, value in metadata.items() if value is not None}
    provider = {**metadata["format"], "options": dict(metadata["format"].get("options") or {})}
    return {**known, "format": provider, "configuration": dict(metadata.get("configuration") or {})}


def load(storage: Storage, version: int | None = None) -> Snapshot | None:
    """Return a table's state at a version, by default the newest; None where there is no table.

    Raises:
        UserError: if the log cannot be read, has lost entries or asks for features that are not known.
    """
    log = Log(storage)
    for attempt in range(_NUM_ATTEMPTS):
        listing = log.list() if version is None and attempt == 0 else log.list_all()
        if listing.newest < 0:
            return None
        state = _replay(log, listing, listing.newest if version is None else version)
        if state is not None:
            return _finish(storage, listing.newest if version is None else version, state)
    wanted = "its newest version" if version is None else f"version {version}"
    raise UserError(f"{storage.shown}: entries of the log that {wanted} needs are missing; set another `table.uri`")


def _replay(log: Log, listing: Listing, version: int) -> _State | None:
    """Sum up the log to a version; None where a part of it is gone, as in the middle of somebody's clean-up."""
    state, start = _State(), 0
    usable = [checkpoint for checkpoint in listing.checkpoints if checkpoint.version <= version]
    if usable:
        try:
            state.apply(log.read_checkpoint(usable[-1]))
        except FileNotFoundError:
            return None
        start = usable[-1].version + 1
    for actions in log.read_range(range(start, version + 1)):
        if actions is None:
            return None
        state.apply(actions)
    return state


def _finish(storage: Storage, version: int, state: _State) -> Snapshot:
    if state.protocol is None or state.metadata is None:
        raise UserError(f"{storage.shown} is no Delta table: its log states no schema; set another `table.uri`")
    state.protocol.check(storage.shown)
    try:
        files = tuple(DataFile.from_action(action) for action in state.adds.values())
    except ValueError as error:
        raise UserError(
            f"{storage.shown} holds a file that another program wrote: {error}; rewrite it there"
        ) from error
    return Snapshot(version, files, state.protocol, state.metadata, state.transactions)
