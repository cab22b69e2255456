"""Inputs that cannot be read in parts, and outputs that cannot be added to: copied before, and delivered at the end."""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import requests

from eshop_ray.data.files import show
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

WEB = ("http://", "https://")
TIMEOUT_SECONDS = 60.0
"""Without a byte."""
UPLOAD_TIMEOUT_SECONDS = 1000.0
NUM_TRIES = 5
PAUSE_SECONDS = 5.0
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
BLOCK_BYTES = 1 << 20


def must_copy(source: str) -> bool:
    """Return whether an input is on the web or comes through a pipe: it is read twice, by several processes."""
    return source.startswith(WEB) or _is_stream(source)


def must_deliver(output: str) -> bool:
    """Return whether an output cannot be added to: an address of the web, a terminal, a pipe."""
    return output.startswith(WEB) or _is_stream(output)


def _is_stream(path: str) -> bool:
    return path.startswith(("/dev/", "/proc/")) or (Path(path).exists() and not Path(path).is_file())


def copy_input(source: str, folder: Path) -> str:
    """Copy an input into a folder, and return where.

    Raises:
        UserError: if it cannot be had.
    """
    path = folder / (Path(source.partition("?")[0]).name or "input.jsonl")
    try:
        with path.open("wb") as target, _open_source(source) as stream:
            shutil.copyfileobj(stream, target, BLOCK_BYTES)
    except (OSError, requests.RequestException) as error:
        raise UserError(f"{show(source)}: cannot be read: {describe(error)}; check the address") from None
    return str(path)


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
            _upload(parts, output)
            return
        with os.fdopen(os.dup(stdout), "wb") if stdout is not None else Path(output).open("wb") as target:
            for part in parts:
                with part.open("rb") as stream:
                    shutil.copyfileobj(stream, target, BLOCK_BYTES)
    except (OSError, requests.RequestException) as error:
        raise UserError(f"{show(output)}: cannot be written: {describe(error)}; all results are in {places}") from None


def _upload(parts: Sequence[Path], address: str) -> None:
    for number in range(1, NUM_TRIES + 1):
        try:
            requests.put(address, data=_Joined(parts), timeout=UPLOAD_TIMEOUT_SECONDS).raise_for_status()
        except requests.RequestException as error:
            if number == NUM_TRIES:
                raise
            logger.warning("%s: %s; tried again in %g s", show(address), describe(error), PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
        else:
            return


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
