"""Lists of numbers of several rows in one array: what loops over rows would do, is done by columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Lists:
    """One list of numbers a row."""

    values: np.ndarray
    offsets: np.ndarray
    """int64; those of row `i` stand between `offsets[i]` and `offsets[i + 1]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Length of each list."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """Row of each value."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, rows: np.ndarray) -> "Lists":
        """Return the lists of some rows."""
        sizes = self.offsets[rows + 1] - self.offsets[rows]
        return Lists(self.values[list_places(self.offsets[rows], sizes)], to_offsets(sizes))


def to_offsets(sizes: np.ndarray) -> np.ndarray:
    """Return where lists of some lengths start, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def list_places(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return `start, start + 1, ...` for each of some runs, one run after the other."""
    ends = np.cumsum(sizes)
    places: np.ndarray = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)
    return places


def split_by_sum(sizes: np.ndarray, limit: int) -> Iterator[slice]:
    """Yield runs of things whose sizes add up to no more than a limit; what is larger alone stands alone."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, "right")))
        yield slice(start, stop)
        start = stop


def mix(values: np.ndarray) -> np.ndarray:
    """Return uint64 values spread over all 64 bits, one to one (the finalizer of MurmurHash3)."""
    mixed: np.ndarray = values ^ (values >> np.uint64(33))
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(33)
    return mixed
