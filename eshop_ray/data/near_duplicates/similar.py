"""All pairs of texts that are alike enough, found exactly: the likeness of what bands only propose is computed here.

The set-similarity join with prefix filter and size filter: Bayardo, Ma and Srikant, "Scaling up all pairs similarity
search" (2007); Xiao and others, "Efficient similarity joins for near-duplicate detection" (2011). Two sets of Jaccard
similarity t or more share one of their rarest few elements; which those are, is counted among the texts at hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eshop_ray.data.near_duplicates.components import find_roots, unite
from eshop_ray.data.near_duplicates.lists import Lists, list_places, mix, split_by_sum

PAIRS_AT_ONCE = 1 << 20
ELEMENTS_AT_ONCE = 1 << 22
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Edges:
    """Pairs of rows that are alike."""

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    """Jaccard similarity of their shingles."""


def find_similar(shingles: Lists, groups: np.ndarray, threshold: float) -> Edges:
    """Return pairs, within groups, of a Jaccard similarity of at least `threshold`.

    They join the same rows as all such pairs would; a pair whose rows hang together already is not looked at, or a
    text that stands a thousand times would cost a million comparisons.

    Args:
        shingles: Of the rows; each has one.
        groups: int64, one a row; rows of different groups are not compared.
        threshold: More than 0.
    """
    if not len(shingles):
        return Edges(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64)))
    sets = _build_sets(shingles, groups)
    digests = np.add.reduceat(mix(sets.values.astype(np.uint64) + np.uint64(1)), sets.offsets[:-1])
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    others = np.flatnonzero(first[inverse] != np.arange(len(inverse)))
    by_size = first[np.argsort(sets.sizes[first], kind="stable")]
    found = [Edges(first[inverse[others]], others, np.ones(len(others)))]
    for edges in _join(sets.take(by_size), threshold):
        found.append(Edges(by_size[edges.left], by_size[edges.right], edges.similarity))
    return Edges(*(np.concatenate([getattr(edges, name) for edges in found]) for name in Edges.__slots__))


def _build_sets(shingles: Lists, groups: np.ndarray) -> Lists:
    """Return the shingles as sets of numbers, ascending from the rarest to the commonest; those of different groups
    have none in common.
    """
    rows = shingles.rows
    own = mix(shingles.values + mix(groups.astype(np.uint64))[rows])
    _, inverse, counts = np.unique(own, return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    places = np.sort(rows * len(counts) + ranks[inverse])
    places = places[np.concatenate([[True], places[1:] != places[:-1]])]
    rows, elements = np.divmod(places, len(counts))
    return Lists(elements, np.searchsorted(rows, np.arange(len(shingles) + 1)))


def _join(sets: Lists, threshold: float) -> Iterator[Edges]:
    """Yield pairs of sets, the smaller before the larger; the sets are sorted by size and differ."""
    sizes = sets.sizes
    parents = np.arange(len(sizes))
    prefixes = _Prefixes.build(sets, threshold)
    start, num_leaders = 0, 1
    while start < prefixes.max_leaders:
        for smaller, larger in prefixes.list_pairs(start, start + num_leaders, parents):
            fits = sizes[smaller] >= threshold * sizes[larger] - _ROUNDING
            left, right = np.divmod(np.unique(smaller[fits] * len(sizes) + larger[fits]), len(sizes))
            similarity = measure(sets, left, right)
            alike = similarity >= threshold - _ROUNDING
            unite(parents, left[alike], right[alike])
            yield Edges(left[alike], right[alike], similarity[alike])
        start, num_leaders = start + num_leaders, 2 * num_leaders


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """The rarest elements of each set, sorted by element and set: sets that share one stand side by side."""

    rows: np.ndarray
    group_offsets: np.ndarray
    """Of the entries of an element."""
    leaders: np.ndarray
    """Entries that propose pairs with all later ones of their group."""
    leader_groups: np.ndarray
    leader_numbers: np.ndarray
    """Of each leader in its group, from 0."""

    @property
    def max_leaders(self) -> int:
        """Leaders of the largest group."""
        return int(self.leader_numbers.max()) + 1 if len(self.leader_numbers) else 0

    @classmethod
    def build(cls, sets: Lists, threshold: float) -> "_Prefixes":
        """Take `n - ceil(t n) + 1` elements of a set to find smaller ones by, and `n - ceil(2 t / (1 + t) n) + 1` to be
        found by larger ones.
        """
        probed, indexed = (
            sets.sizes - np.ceil(share * sets.sizes - _ROUNDING).astype(np.int64) + 1
            for share in (threshold, 2 * threshold / (1 + threshold))
        )
        rows = np.repeat(np.arange(len(sets)), probed)
        places = list_places(sets.offsets[:-1], probed)
        order = np.argsort(sets.values[places], kind="stable")
        elements, is_index = sets.values[places][order], (places - sets.offsets[rows] < indexed[rows])[order]
        starts = np.flatnonzero(np.concatenate([[True], elements[1:] != elements[:-1]]))
        offsets = np.concatenate([starts, [len(elements)]])
        groups = np.repeat(np.arange(len(starts)), np.diff(offsets))
        leaders = np.flatnonzero(is_index & (np.arange(len(elements)) < offsets[groups + 1] - 1))
        own = groups[leaders]
        return cls(rows[order], offsets, leaders, own, np.arange(len(own)) - np.searchsorted(own, own))

    def list_pairs(self, start: int, stop: int, parents: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of rows that some leaders of each group propose, without those that hang together already."""
        chosen = (self.leader_numbers >= start) & (self.leader_numbers < stop)
        roots = find_roots(parents, self.rows)
        low = np.minimum.reduceat(roots, self.group_offsets[:-1])
        is_open = low != np.maximum.reduceat(roots, self.group_offsets[:-1])
        chosen &= is_open[self.leader_groups]
        leaders, ends = self.leaders[chosen], self.group_offsets[self.leader_groups[chosen] + 1]
        counts = ends - leaders - 1
        for part in split_by_sum(counts, PAIRS_AT_ONCE):
            left = np.repeat(self.rows[leaders[part]], counts[part])
            right = self.rows[list_places(leaders[part] + 1, counts[part])]
            apart = find_roots(parents, left) != find_roots(parents, right)
            yield left[apart], right[apart]


def measure(sets: Lists, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the Jaccard similarity of pairs of sets of numbers below 2^32."""
    sizes = sets.sizes
    both = sizes[left] + sizes[right]
    common = np.zeros(len(left), np.int64)
    for part in split_by_sum(both, ELEMENTS_AT_ONCE):
        pairs = np.arange(part.stop - part.start)
        keys = []
        for rows in (left[part], right[part]):
            own = np.repeat(pairs, sizes[rows]) << 32
            keys.append(own | sets.values[list_places(sets.offsets[rows], sizes[rows])])
        joined = np.sort(np.concatenate(keys))
        twice = joined[1:][joined[1:] == joined[:-1]] >> 32
        common[part] = np.bincount(twice, minlength=len(pairs))
    similarity: np.ndarray = common / (both - common)
    return similarity
