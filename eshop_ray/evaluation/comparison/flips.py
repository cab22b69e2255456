"""Rows whose score changed, of any number: written down as they are found, and read back in the order of losses."""

import json
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from eshop_ray.schema import Row


class FlipStore:
    """Rows on the disk; memory holds a place and a number for each."""

    def __init__(self, folder: Path) -> None:
        """Take a folder for a file without a name, which is gone when the process is."""
        self._stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._parts, self._changes, self._places = array("q"), array("d"), array("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, part: int, change: float, row: Row) -> None:
        """Keep a row.

        Args:
            part: Number of the group that it belongs to.
            change: By how much its score is higher.
            row: Whatever JSON can hold.
        """
        self._parts.append(part)
        self._changes.append(change)
        self._places.append(self._stream.tell())
        self._stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    def read(self) -> Iterator[Row]:
        """Yield the rows by group, the largest loss first."""
        for number in np.lexsort((self._places, self._changes, self._parts)).tolist():
            self._stream.seek(self._places[number])
            row: Row = json.loads(self._stream.readline())
            yield row
