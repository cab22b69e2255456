"""Which merges a search tries: a grid over methods, weights, densities and WiSE-FT shares, or a fair sample of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import MergeMethod, MergeSection, SearchSection
from eshop_ray.config.experiment import WITH_DENSITY

DIGITS = 4
"""Decimals of a weight: a recipe is read by people."""


@dataclass(frozen=True)
class Candidate:
    """One way to combine adapters, whichever they are."""

    method: MergeMethod
    weights: tuple[float, ...]
    """One per adapter."""
    density: float = 1.0
    """1 for methods that thin nothing out."""
    wise_ft: float = 1.0
    """Share of the combined update that goes into the base."""

    @cached_property
    def id(self) -> str:
        """The method and a digest of everything: the same candidate has the same name in every search."""
        return f"{self.method}-{fingerprint([self.method, self.weights, self.density, self.wise_ft])[:8]}"

    @property
    def is_even(self) -> bool:
        """Whether all adapters weigh the same."""
        return len(set(self.weights)) == 1

    def to_merge(self, folders: Sequence[str] = (), digests: Sequence[str] = ()) -> MergeSection:
        """Return the candidate as `merge_lora` takes it.

        Args:
            folders: The adapters' folders, in the order of the weights.
            digests: The adapters' digests, likewise: a recipe holds for these adapters only.
        """
        return MergeSection(
            adapters=tuple(folders),
            method=self.method,
            weights=self.weights,
            density=self.density,
            wise_ft=self.wise_ft,
            digests=tuple(digests),
        )


def build_candidates(search: SearchSection, num_adapters: int) -> list[Candidate]:
    """Return what a search tries, each candidate once, the most telling ones first.

    Above `search.max_candidates` it is a sample, the same one every time, in which every method keeps its share of
    the grid and even weights come before tilted ones. A larger sample holds all of a smaller one.

    Args:
        search: The grid.
        num_adapters: How many adapters are combined.
    """
    by_method: dict[MergeMethod, list[Candidate]] = {}
    for candidate in dict.fromkeys(_iterate_grid(search, num_adapters)):
        by_method.setdefault(candidate.method, []).append(candidate)
    ranked = []
    for number, candidates in enumerate(by_method.values()):
        ordered = sorted(candidates, key=lambda candidate: (not candidate.is_even, candidate.id))
        # Each method's candidates are spread evenly over 0..1: any beginning of the whole holds fair shares of all.
        places = ((index + 0.5) / len(ordered) for index in range(len(ordered)))
        ranked += [(place, number, candidate.id, candidate) for place, candidate in zip(places, ordered, strict=True)]
    return [candidate for *_, candidate in sorted(ranked, key=lambda entry: entry[:3])[: search.max_candidates]]


def build_weights(search: SearchSection, num_adapters: int) -> list[tuple[float, ...]]:
    """Return the weight vectors of a grid, each once.

    For every scale: all adapters alike, and for every tilt each adapter in its turn weighs so many times as much as
    the others, the sum being the same. A scale of 0 merges nothing and gives none. Behind them, for `search.soups`, the
    mean of each subset: what a greedy soup can end with (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482) is
    among them.
    """
    vectors = []
    for scale in filter(None, search.scales):
        vectors.append((round(scale, DIGITS),) * num_adapters)
        for tilt in search.tilts:
            other = num_adapters * scale / (tilt + num_adapters - 1)
            for heavy in range(num_adapters):
                weights = (tilt * other if place == heavy else other for place in range(num_adapters))
                vectors.append(tuple(round(weight, DIGITS) for weight in weights))
    if search.soups:
        for taken in product((True, False), repeat=num_adapters):
            if any(taken):
                vectors.append(tuple(round(is_in / sum(taken), DIGITS) for is_in in taken))
    return list(dict.fromkeys(vectors))


def _iterate_grid(search: SearchSection, num_adapters: int) -> Iterator[Candidate]:
    vectors = build_weights(search, num_adapters)
    for method in search.methods:
        for density in search.densities if method in WITH_DENSITY else (1.0,):
            for weights in vectors:
                for wise_ft in search.wise_ft:
                    yield Candidate(method, weights, float(density), float(wise_ft))
