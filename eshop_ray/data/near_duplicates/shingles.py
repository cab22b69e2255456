"""Texts as sets of shingles, runs of words: how alike two texts are is the share of shingles that both have."""

import numpy as np
import pyarrow as pa

from eshop_ray.data.near_duplicates.lists import Lists, list_places, mix, to_offsets
from eshop_ray.data.near_duplicates.words import Unit, hash_sequences, hash_words

_BASES = (0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
"""Odd, so that their powers have an inverse modulo 2^64."""


def read_shingles(texts: pa.Array, within: np.ndarray, unit: Unit, num_words: int) -> Lists:
    """Return the shingles of texts as 64-bit hashes, in their order and with repeats; `within` as for `read_words`."""
    return build_shingles(read_words(texts, within, unit), num_words)


def read_words(texts: pa.Array, within: np.ndarray, unit: Unit) -> Lists:
    """Return the words of texts as 64-bit hashes, which texts of unlike `within` (uint64) have none in common of."""
    words = hash_words(texts, unit)
    return Lists(mix(words.values + within[words.rows]), words.offsets) if within.any() else words


def hash_texts(texts: pa.Array) -> np.ndarray:
    """Return a hash of each text's words, the same for texts that differ in case, signs and blanks only."""
    return hash_sequences(hash_words(texts), _BASES[0])


def build_shingles(words: Lists, num_words: int) -> Lists:
    """Return the runs of `num_words` words of each text; a text of fewer words is one shingle.

    So a short text is like none but those that say the same.
    """
    counts = np.maximum(words.sizes - num_words + 1, 1)
    runs = words.values.copy()
    factor = 1
    for ahead in range(1, num_words):
        factor = factor * _BASES[0] % (1 << 64)
        runs[:-ahead] += words.values[ahead:] * np.uint64(factor)
    runs = mix(runs)
    short = np.flatnonzero(words.sizes < num_words)
    runs[words.offsets[short]] = hash_sequences(words.take(short), _BASES[0])
    return Lists(runs[list_places(words.offsets[:-1], counts)], to_offsets(counts))


def digest_words(words: Lists) -> tuple[np.ndarray, np.ndarray]:
    """Return 128 bits of each text by which texts of equal words are known: among 10^9 texts two others meet by chance
    once in 10^20 runs.
    """
    return hash_sequences(words, _BASES[0]), hash_sequences(words, _BASES[1])
