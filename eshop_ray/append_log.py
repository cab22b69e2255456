"""A file of JSON lines that only grows, and survives the end of its writer at any moment."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from eshop_ray.errors import UserError

Value = TypeVar("Value")


class AppendLog:
    """JSON lines that one process at a time adds to.

    A line counts once its end is written: what a killed process left of one is cut off.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, which need not exist, and keep other writers out until it is closed.

        Raises:
            UserError: if another process is writing it.
            OSError: if it cannot be written.
        """
        self.path = path
        self._torn: int | None = None
        """Where whole lines end, while what is behind them may be a failed write's."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: what waits in one would be written, and fail, once more when the file is closed.
        self._file = open(path, "ab", buffering=0, opener=_open_private)  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{path}: another run is writing it; wait for its end") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, parse: Callable[[Any], Value]) -> Iterator[Value]:
        """Yield what `parse` makes of the JSON of each whole line, then cut off the rest.

        Raises:
            UserError: naming a line that is no JSON, or that `parse` refuses.
        """
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                try:
                    yield parse(json.loads(line))
                except (ValueError, TypeError, LookupError, AttributeError):
                    raise UserError(
                        f"{self.path}:{number}: is no line that this job writes; remove it, or name another output"
                    ) from None
        self._file.truncate(end)

    def clear(self) -> None:
        """Begin anew.

        Raises:
            OSError: if that cannot be written.
        """
        self._file.truncate(0)

    def append(self, lines: Iterable[str]) -> None:
        """Add lines of JSON; they are on disk when this returns.

        Raises:
            OSError: if they cannot be written. None of them counts then: the next line is not glued to half of one.
        """
        self._mend()
        self._torn = os.fstat(self._file.fileno()).st_size
        left = memoryview("".join(f"{line}\n" for line in lines).encode())
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):  # else the next one tries
                self._mend()
            raise
        self._torn = None

    def _mend(self) -> None:
        if self._torn is not None:
            self._file.truncate(self._torn)
            self._torn = None


def _open_private(path: str, flags: int) -> int:
    """Open a file, a new one for its owner only: answers may quote what customers wrote."""
    return os.open(path, flags, 0o600)
