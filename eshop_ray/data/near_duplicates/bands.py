"""MinHash signatures in bands: texts that are alike agree in at least one band, others hardly ever.

Broder, "On the resemblance and containment of documents" (1997); bands: Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from eshop_ray.data.near_duplicates.lists import Lists, mix, split_by_sum

MAX_HASHES = 96
"""Of a text: signing costs time in proportion."""
MAX_MISS = 1e-4
"""Chance that two texts as alike as the threshold agree in no band; of more alike ones it is far less."""

_SHINGLES_AT_ONCE = 1 << 15
_SEED = 1997


@dataclass(frozen=True, slots=True)
class Bands:
    """How a signature is divided."""

    num_bands: int
    num_rows: int
    """Hashes of a band."""

    @property
    def num_hashes(self) -> int:
        """Hashes of a signature."""
        return self.num_bands * self.num_rows

    def chance(self, likeness: float) -> float:
        """Return how likely two texts of some Jaccard similarity agree in a band."""
        return 1 - (1 - likeness**self.num_rows) ** self.num_bands


def choose_bands(threshold: float) -> Bands:
    """Return the widest bands, for they bring the fewest pairs in vain, that miss no more than `MAX_MISS`."""
    fitting = []
    for num_rows in range(1, MAX_HASHES + 1):
        agree = threshold**num_rows
        num_bands = 1 if agree >= 1 else math.ceil(math.log(MAX_MISS) / math.log1p(-agree))
        if num_bands * num_rows <= MAX_HASHES:
            fitting.append(Bands(num_bands, num_rows))
    return fitting[-1] if fitting else Bands(MAX_HASHES, 1)


def sign(shingles: Lists, bands: Bands) -> np.ndarray:
    """Return the key of each text and band, `[len(shingles), num_bands]` uint64; equal bands have equal keys.

    By columns in pieces that stay in a core's cache. Keys of different bands differ.
    """
    factors, summands = _permutations(bands.num_hashes)
    keys = np.empty((bands.num_bands, len(shingles)), np.uint64)
    for rows in split_by_sum(shingles.sizes, _SHINGLES_AT_ONCE):
        borders = shingles.offsets[rows.start : rows.stop + 1]
        own, starts = shingles.values[borders[0] : borders[-1]], borders[:-1] - borders[0]
        permuted = np.empty_like(own)
        for number in range(bands.num_hashes):
            band = number // bands.num_rows
            key = keys[band, rows] if number % bands.num_rows else np.full(len(starts), band, np.uint64)
            np.multiply(own, factors[number], out=permuted)
            np.add(permuted, summands[number], out=permuted)
            keys[band, rows] = mix(key + np.minimum.reduceat(permuted, starts))
    return keys.T


@cache
def _permutations(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return factors, odd ones, and summands of permutations of the numbers below 2^64."""
    drawn = np.random.default_rng(_SEED).integers(0, 1 << 64, (2, number), np.uint64)
    return drawn[0] | np.uint64(1), drawn[1]
