"""Inputs that cannot be read in parts, and outputs that cannot be added to: copied before, and delivered at the end."""

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import requests
import urllib3

from eshop_ray.errors import UserError
from eshop_ray.places import PRIVATE_DIR, show

logger = logging.getLogger(__name__)

WEB = ("http://", "https://")
TIMEOUT_SECONDS = 60.0
"""Without a byte."""
UPLOAD_TIMEOUT_SECONDS = 1000.0
NUM_TRIES = 5
PAUSE_SECONDS = 5.0
TROUBLES = (OSError, requests.RequestException, urllib3.exceptions.HTTPError)
"""What reading and writing raise; that of urllib3 comes where a response breaks off."""
_DESCRIPTOR = re.compile(r"/dev/(?:std(?:in|out|err)|fd/\d+)|/proc/[^/]+/fd/\d+")
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
BLOCK_BYTES = 1 << 20


def must_deliver(output: str) -> bool:
    """Return whether an output cannot be added to: an address of the web, a terminal, a pipe.

    Raises:
        UserError: if it is a folder.
    """
    if Path(output).is_dir():
        raise UserError(f"{output}: is a folder; name a file in it")
    return output.startswith(WEB) or _is_stream(output)


def _is_stream(path: str) -> bool:
    if _DESCRIPTOR.fullmatch(path):
        return True
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


@contextmanager
def borrow_input(source: str, workspace: Path, name: str) -> Iterator[str]:
    """Yield where an input can be read in parts: where it is, or a copy that goes at the end.

    Args:
        source: The input.
        workspace: Folder for the copy.
        name: Of this batch.

    Raises:
        UserError: if it cannot be had.
    """
    if not (source.startswith(WEB) or _is_stream(source)):
        yield source
        return
    try:
        workspace.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{name}-", dir=workspace) as folder:
            path = Path(folder, Path(source.partition("?")[0]).name or "input.jsonl")
            try:
                _try(lambda: _copy(source, path), source, NUM_TRIES if source.startswith(WEB) else 1)
            except TROUBLES as error:
                raise UserError(f"{show(source)}: cannot be read: {describe(error)}; check the address") from None
            yield str(path)
    finally:
        with suppress(OSError):
            workspace.rmdir()  # if nothing else is in it


def _copy(source: str, path: Path) -> None:
    with path.open("wb") as target, _open_source(source) as stream:
        shutil.copyfileobj(stream, target, BLOCK_BYTES)


def _try(action: Callable[[], None], address: str, num_tries: int) -> None:
    """Do something that may fail for a while."""
    for number in range(1, num_tries + 1):
        try:
            return action()
        except TROUBLES as error:
            if number == num_tries or _is_final(error):
                raise
            logger.warning("%s: %s; tried again in %g s", show(address), describe(error), PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
    return None


def _is_final(error: Exception) -> bool:
    """Return whether a server has said that it will never be otherwise."""
    response = getattr(error, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code not in (408, 429)


@contextmanager
def _open_source(source: str) -> Iterator[IO[bytes]]:
    if not source.startswith(WEB):
        with Path(source).open("rb") as stream:
            yield stream
        return
    with requests.get(source, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        response.raw.decode_content = True
        yield response.raw


@contextmanager
def keep_stdout(output: str) -> Iterator[int | None]:
    """Yield a descriptor of the standard output if that is the output, and send all else that is printed elsewhere."""
    if output not in STDOUT:
        yield None
        return
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield kept
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def deliver(parts: Sequence[Path], output: str, stdout: int | None) -> None:
    """Send files, one behind the other, to where the output is wanted.

    Raises:
        UserError: if that fails, naming where the files are.
    """
    places = " and ".join(map(str, parts))
    try:
        if output.startswith(WEB):
            _try(lambda: _upload(parts, output), output, NUM_TRIES)
            return
        with os.fdopen(os.dup(stdout), "wb") if stdout is not None else Path(output).open("wb") as target:
            for part in parts:
                with part.open("rb") as stream:
                    shutil.copyfileobj(stream, target, BLOCK_BYTES)
    except TROUBLES as error:
        raise UserError(f"{show(output)}: cannot be written: {describe(error)}; all results are in {places}") from None


def _upload(parts: Sequence[Path], address: str) -> None:
    requests.put(address, data=_Joined(parts), timeout=UPLOAD_TIMEOUT_SECONDS).raise_for_status()


class _Joined:
    """Several files as one body of known length: object stores refuse bodies without."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(part.stat().st_size for part in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            with part.open("rb") as stream:
                while block := stream.read(BLOCK_BYTES):
                    yield block


def describe(error: Exception) -> str:
    """Return what went wrong without the address, which may hold a key."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
