"""The folder in which one run exchanges its rows, in the run directory or in its object store: held while it lives."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from eshop_ray.enrichment.merge import BAD_RESULTS, ENRICHED_RESULTS
from eshop_ray.enrichment.plan import ACTIONS, PREVIOUS_ROWS
from eshop_ray.enrichment.scan import REVIEW_ROWS, product_rows
from eshop_ray.enrichment.shards import SHARD_ROWS
from eshop_ray.exchange import Exchange
from eshop_ray.places import PRIVATE_DIR, uri_of
from eshop_ray.storage import Storage, StorageError
from eshop_ray.storage.lease import find_held, hold

KINDS = {
    "reviews": REVIEW_ROWS,
    "asked": ACTIONS,
    "keys": PREVIOUS_ROWS,
    "resolved": ACTIONS,
    "questions": SHARD_ROWS,
    "enriched": ENRICHED_RESULTS,
    "bad": BAD_RESULTS,
}
"""Exchanges of a run and their columns, besides `products`. `asked` and `keys` go by key, `resolved` by the file that
is copied from, all others by product."""

_FOLDER = "enrichment"
_PREFIX = ".staging-"
_LOCK = ".lock"
"""In a run's folder; held for as long as its process lives."""
_ABANDONED_SECONDS = 2 * 86_400
"""Where the file system knows no locks: after this time no run can still be working in its folder."""


@dataclass(frozen=True, slots=True)
class Staging:
    """Where one run exchanges its rows; all nodes reach it."""

    storage: Storage
    num_buckets: int
    columns: tuple[str, ...]
    """Of the catalogue, as tasks read them."""

    def exchange(self, kind: str, num_buckets: int | None = None) -> Exchange:
        """Return one of the run's exchanges, without anything to read yet: one of `KINDS`, or `products`."""
        schema = product_rows(self.columns) if kind == "products" else KINDS[kind]
        return Exchange(self.storage, kind, schema, num_buckets or self.num_buckets)


@contextmanager
def open_staging(run_dir: Path, run_id: str, num_buckets: int, columns: Sequence[str]) -> Iterator[Staging]:
    """Yield an empty workspace, and clear it away in the end, as well as those of runs that were killed.

    Raises:
        StorageError: if the run's storage refuses.
    """
    clear_abandoned(run_dir)
    uri = uri_of(run_dir)
    with _hold_folder(run_dir, run_id) if uri is None else _hold_stored(Storage(uri), run_id) as storage:
        yield Staging(storage, num_buckets, tuple(columns))


def clear_abandoned(run_dir: Path) -> int:
    """Delete the workspaces of runs that were killed, and return how many they were.

    Raises:
        StorageError: if the run's storage refuses.
    """
    uri = uri_of(run_dir)
    if uri is not None:
        return _clear_stored(Storage(uri))
    abandoned = [folder for folder in (run_dir / _FOLDER).glob(f"{_PREFIX}*") if not _is_held(folder)]
    for folder in abandoned:
        rmtree(folder, ignore_errors=True)
    return len(abandoned)


@contextmanager
def _hold_folder(run_dir: Path, run_id: str) -> Iterator[Storage]:
    folder = run_dir / _FOLDER / f"{_PREFIX}{run_id}"
    new = folder.with_name(f".new{folder.name}")  # nobody looks at it before it is held
    new.mkdir(mode=PRIVATE_DIR, parents=True)
    with (new / _LOCK).open("w") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder)
        try:
            yield Storage(str(folder))
        finally:
            rmtree(folder, ignore_errors=True)


@contextmanager
def _hold_stored(storage: Storage, run_id: str) -> Iterator[Storage]:
    folder = f"{_FOLDER}/{_PREFIX}{run_id}"
    rows = storage.below(f"{folder}/rows")
    with hold(storage, f"{folder}/{_LOCK}", run_id):
        try:
            yield rows
        finally:
            with suppress(StorageError):  # a later run clears it away; what ended this one is to be said
                rows.delete_all()


def _clear_stored(storage: Storage) -> int:
    folders, _ = storage.list_folder(_FOLDER)
    staged = [folder for folder in folders if folder.rpartition("/")[2].startswith(_PREFIX)]
    abandoned = [folder for folder in staged if find_held(storage, f"{folder}/{_LOCK}") is None]
    for folder in abandoned:
        storage.delete_all(folder)
    return len(abandoned)


def _is_held(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        with suppress(OSError):
            return time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS
        return False
