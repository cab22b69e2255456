"""A claim on a place in an object store, which knows no locks: a file that its holder renews while it lives."""

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from eshop_ray.storage.storage import Storage, StorageError, StoredFile

logger = logging.getLogger(__name__)

RENEW_SECONDS = 15.0
LAPSE_SECONDS = 90.0
"""A claim that was not renewed for so long counts for nothing: its holder was killed, or cannot reach the store."""


class HeldError(Exception):
    """Another holds the place; its message says who, and since how many seconds nothing was heard of it."""


@contextmanager
def hold(storage: Storage, path: str, holder: str) -> Iterator[None]:
    """Hold a place until the block ends, or, if the process is killed, for `LAPSE_SECONDS` more.

    A process that could not renew its claim for so long and lost it to another is ended.

    Args:
        storage: Of the place.
        path: The claim's file.
        holder: Who holds it, for people.

    Raises:
        HeldError: if another does.
        StorageError: if the storage refuses.
    """
    content = f"{holder} {uuid.uuid4().hex}".encode()
    _take(storage, path, content)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(storage, path, content, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        _let_go(storage, path, content)


def find_held(storage: Storage, path: str) -> float | None:
    """Return the seconds since a claim was renewed; None if nobody holds the place.

    Raises:
        StorageError: if the storage refuses.
    """
    claim = storage.stat(path)
    seconds = None if claim is None else _measure_age(storage, claim)
    return seconds if seconds is not None and seconds < LAPSE_SECONDS else None


def _take(storage: Storage, path: str, content: bytes) -> None:
    if storage.create(path, content) or storage.read(path) == content:  # the answer to the first try may be lost
        return None
    claim = storage.stat(path)
    if claim is None:  # it ended just now
        return _take(storage, path, content)
    seconds = _measure_age(storage, claim)
    if seconds >= LAPSE_SECONDS and storage.replace(path, content, claim):
        return None
    holder = (storage.read(path) or b"").decode(errors="replace").rpartition(" ")[0] or "another job"
    raise HeldError(f"{holder}, last heard of {seconds:.0f} s ago")


def _let_go(storage: Storage, path: str, content: bytes) -> None:
    """Delete the claim; what the block did, or why it failed, counts even if the storage refuses."""
    try:
        if storage.read(path) == content:
            storage.delete(path)
    except StorageError as error:
        logger.warning("%s/%s is held for %g s more: %s", storage.shown, path, LAPSE_SECONDS, error.reason)


def _measure_age(storage: Storage, claim: StoredFile) -> float:
    """Return the age of a file by the storage's own clock, which a new file tells."""
    probe = f"{claim.path}.{uuid.uuid4().hex}"
    storage.write(probe, b"")
    try:
        now = storage.stat(probe)
    finally:
        storage.delete(probe)
    return (now.modified - claim.modified).total_seconds() if now else 0.0


def _renew(storage: Storage, path: str, content: bytes, ended: threading.Event) -> None:
    renewed = time.monotonic()
    while not ended.wait(RENEW_SECONDS):
        try:
            claim = storage.stat(path)
            is_mine = claim is not None and storage.read(path) == content
            if is_mine and claim and (storage.replace(path, content, claim) or storage.read(path) == content):
                renewed = time.monotonic()
                continue
        except Exception as error:  # a claim that nobody renews any more would lapse unnoticed
            if time.monotonic() - renewed < LAPSE_SECONDS:
                logger.warning("%s", error)
                continue
        if not ended.is_set():
            logger.error("%s/%s: another job took over, or the storage is gone; this one ends", storage.shown, path)
            os.kill(os.getpid(), signal.SIGTERM)
        return
