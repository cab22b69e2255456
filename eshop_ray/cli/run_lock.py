"""One job at a time per run directory: two would mix their files."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eshop_ray.errors import UserError
from eshop_ray.places import PRIVATE_DIR, uri_of

LOCK = ".lock"
"""In the run directory; says who holds it."""


@contextmanager
def hold_run(run_dir: Path, job: str) -> Iterator[None]:
    """Keep other jobs out of a run directory until the block or the process ends, however that comes.

    Where the file system knows no locks, as some that are shared over a network, nobody is kept out.

    Raises:
        UserError: naming the job that is at work there.
    """
    uri = uri_of(run_dir)
    with _hold_folder(run_dir, job) if uri is None else _hold_stored(uri, job):
        yield


@contextmanager
def _hold_stored(uri: str, job: str) -> Iterator[None]:
    # Now: libraries for object stores would keep `--help` waiting.
    from eshop_ray.storage import Storage
    from eshop_ray.storage.lease import LAPSE_SECONDS, HeldError, hold

    try:
        with hold(Storage(uri), LOCK, _describe(job)):
            yield
    except HeldError as error:
        raise UserError(
            f"run directory {uri}: {error} is at work there; wait for its end ({LAPSE_SECONDS:g} s if it was killed), "
            "or give this run another `name`"
        ) from None


@contextmanager
def _hold_folder(run_dir: Path, job: str) -> Iterator[None]:
    try:
        run_dir.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        file = (run_dir / LOCK).open("a+")
    except OSError as error:
        raise UserError(
            f"run directory {run_dir}: {error.strerror}; set `run_root` to a folder you may write"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                file.seek(0)
                holder = file.read().strip() or "another job"
                raise UserError(
                    f"run directory {run_dir}: {holder} is at work there; wait for its end, or give this run another "
                    "`name`"
                ) from None
        file.truncate(0)
        file.write(_describe(job))
        file.flush()
        yield


def _describe(job: str) -> str:
    return f"`eshop {job}` (process {os.getpid()})"
