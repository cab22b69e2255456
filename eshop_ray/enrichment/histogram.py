"""How long texts are, in a few numbers that workers count and the driver adds up."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

EDGES: tuple[int, ...] = (0, 1, *(round(2 ** (half / 2)) for half in range(2, 49)))
"""0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, ...: two bins an octave, up to 16 million. The same for every run, so that any
two histograms add up and two nights can be compared."""


@dataclass(slots=True)
class Histogram:
    """Counts of values; bin `i` holds `edges[i] <= value < edges[i + 1]`, the last bin everything larger too."""

    edges: tuple[int, ...] = EDGES
    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES) - 1))

    def add(self, values: Sequence[int]) -> None:
        """Count values; what lies outside the edges goes to the outer bins, so that none is lost."""
        for value, count in Counter(values).items():
            place = bisect_right(self.edges, value) - 1
            self.counts[min(max(place, 0), len(self.counts) - 1)] += count

    def merge(self, other: "Histogram") -> None:
        """Add another histogram's counts.

        Raises:
            ValueError: if its edges are others.
        """
        if other.edges != self.edges:
            raise ValueError("histograms with different edges cannot be added up")
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def to_dict(self) -> dict[str, list[int]]:
        """Return `edges` and `counts`, one edge more than counts."""
        return {"edges": list(self.edges), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Histogram":
        """Read what `to_dict` made.

        Raises:
            ValueError: if the edges do not enclose the counts.
        """
        edges, counts = tuple(value["edges"]), list(value["counts"])
        if len(edges) != len(counts) + 1 or sorted(set(edges)) != list(edges):
            raise ValueError(f"{len(counts)} counts need {len(counts) + 1} rising edges, found {len(edges)}")
        return cls(edges, counts)

    @property
    def num_values(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def get_bound(self, share: float) -> int | None:
        """Return the edge below which at least this share of the values lies; None without values."""
        seen = 0
        for edge, count in zip(self.edges[1:], self.counts, strict=True):
            seen += count
            if seen and seen >= share * self.num_values:
                return edge
        return None
