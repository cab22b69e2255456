"""Artifacts on their way to and from an object store."""

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from eshop_ray.artifacts.digests import MANIFEST, hash_file
from eshop_ray.artifacts.documents import render_checksummed
from eshop_ray.artifacts.manifest import Manifest
from eshop_ray.places import PRIVATE_DIR, explain_cache
from eshop_ray.storage import Storage, StorageError

NUM_THREADS = 8
"""Files on their way at one time."""
_CHUNK_BYTES = 1 << 20

Result = TypeVar("Result")


def upload(folder: Path, manifest: Manifest, storage: Storage) -> None:
    """Put an artifact in the place of an earlier one; while it is on its way, there is none.

    Raises:
        StorageError: if the storage refuses.
    """
    storage.delete(MANIFEST)
    _for_all(lambda name: storage.upload(name, folder / name), manifest.files)
    for file in storage.list():
        if file.path not in manifest.files:
            storage.delete(file.path)
    storage.write(MANIFEST, render_checksummed(asdict(manifest)).encode())


def list_files(storage: Storage, manifest: Manifest | None) -> dict[str, str | None]:
    """Return relative path -> SHA-256, None where it is unknown, of an artifact's files, or of all that there are.

    Raises:
        StorageError: if the storage cannot be read.
    """
    if manifest is not None and manifest.files:
        return dict(manifest.files)
    return {file.path: None for file in storage.list() if file.path.rpartition("/")[2] != MANIFEST}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from making the same copy.

    Raises:
        UserError: if the cache cannot be written.
    """
    try:
        folder.parent.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        lock = (folder.parent / f".{folder.name}.lock").open("w")
    except OSError as error:
        raise explain_cache(error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def download(storage: Storage, files: Mapping[str, str | None], folder: Path) -> None:
    """Fetch files into a new folder.

    Args:
        storage: Where they are.
        files: Path -> SHA-256, where that is known.
        folder: Where they go.

    Raises:
        StorageError: if the storage cannot be read, or a file has other bytes than it should.
    """

    def fetch(name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.download(name, path)
        if files[name] not in (None, hash_file(path)):
            raise StorageError(f"{storage.shown}/{name} is not as its {MANIFEST} names it; make it anew")

    folder.mkdir(parents=True)
    _for_all(fetch, files)


def hash_stored(storage: Storage) -> dict[str, str]:
    """Return relative path -> SHA-256 of the files of a storage, its manifest left out.

    Raises:
        StorageError: if it cannot be read.
    """

    def hash_one(name: str) -> str:
        digest = hashlib.sha256()
        with storage.open(name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    names = [file.path for file in storage.list() if file.path.rpartition("/")[2] != MANIFEST]
    return dict(zip(names, _for_all(hash_one, names), strict=True))


def _for_all(act: Callable[[str], Result], names: Iterable[str]) -> list[Result]:
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(threads.map(act, names))
