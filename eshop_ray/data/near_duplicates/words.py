"""The words of a column of texts as 64-bit hashes, computed by columns: no text becomes a Python object."""

from functools import cache, lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.data.near_duplicates.lists import Lists, mix, split_by_sum, to_offsets

Unit = Literal["word", "character"]

SLICE_BYTES = 1 << 18
"""Text that is hashed at a time: what is computed from it stays in a core's cache."""

_SEED = 20_240_229
_BASE = 0x9E3779B97F4A7C15
"""Odd, so that its powers have an inverse modulo 2^64."""
UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"
"""A letter of a script that puts no blanks between words."""
_SIGNS = r"[^\p{L}\p{M}\p{N}\x00-\x7f]+"


def hash_words(texts: pa.Array, unit: Unit = "word") -> Lists:
    """Return the words of each text: letters and digits that stand together, whatever their case and width (NFKC).

    Chinese, Japanese and Thai put no blanks between words: there each character is one. A text without any word, such
    as an emoji, is one word as it stands; null is the empty text. So every text has at least one.

    Args:
        texts: Strings.
        unit: What counts as a word: with `character` each letter and digit does.
    """
    folded = _fold(pc.fill_null(texts.cast(pa.large_string()), ""))
    ends = np.frombuffer(folded.buffers()[1], np.int64)[folded.offset : folded.offset + len(folded) + 1]
    parts = [_hash_slice(folded, ends[rows.start : rows.stop + 1], unit) for rows in _split(ends)]
    if not parts:
        return Lists(np.empty(0, np.uint64), to_offsets(np.empty(0, np.int64)))
    sizes = np.concatenate([part.sizes for part in parts])
    return Lists(np.concatenate([part.values for part in parts]), to_offsets(sizes))


def hash_sequences(words: Lists, base: int) -> np.ndarray:
    """Return a hash of each text's words in their order: a polynomial in an odd base, modulo 2^64."""
    hashes = [np.empty(0, np.uint64)]
    for rows in split_by_sum(words.sizes, SLICE_BYTES):
        borders = words.offsets[rows.start : rows.stop + 1]
        sums = _sum_polynomials(words.values[borders[0] : borders[-1]], base)
        starts, stops = borders[:-1] - borders[0], borders[1:] - borders[0]
        hashes.append(mix(_cut(sums, starts, stops, base) + (stops - starts).astype(np.uint64)))
    return np.concatenate(hashes)


def _split(ends: np.ndarray) -> list[slice]:
    return list(split_by_sum(np.diff(ends), SLICE_BYTES))


def _fold(texts: pa.Array) -> pa.Array:
    """Return texts in which every byte that is not ASCII belongs to a word; most texts of most shops are ASCII only."""
    is_ascii = pc.string_is_ascii(texts)
    if pc.all(is_ascii).as_py() is not False:
        return texts
    others = texts.filter(pc.invert(is_ascii))
    lower = pc.utf8_lower(pc.utf8_normalize(others, "NFKC"))
    spaced = pc.replace_substring_regex(pc.replace_substring_regex(lower, _SIGNS, " "), UNSPACED, r" \1 ")
    # Of an emoji nothing would be left: a text of such signs only stays as it is.
    kept = pc.if_else(pc.equal(pc.utf8_trim_whitespace(spaced), ""), others, spaced)
    return pc.replace_with_mask(texts, pc.invert(is_ascii), kept)


def _hash_slice(texts: pa.Array, ends: np.ndarray, unit: Unit) -> Lists:
    """Hash texts whose bytes stand between the first and the last of some offsets."""
    content = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    borders = ends - ends[0]
    codes, in_word = _tables()
    sums = _sum_polynomials(codes[content], _BASE)
    starts, stops = _find_words(content, in_word[content], borders, unit)
    firsts = np.searchsorted(starts, borders)
    is_empty = np.diff(firsts) == 0
    if is_empty.any():
        places = firsts[:-1][is_empty]
        starts = np.insert(starts, places, borders[:-1][is_empty])
        stops = np.insert(stops, places, borders[1:][is_empty])
        firsts = firsts + to_offsets(is_empty)
    return Lists(mix(_cut(sums, starts, stops, _BASE)), firsts)


def _find_words(
    content: np.ndarray, is_word: np.ndarray, borders: np.ndarray, unit: Unit
) -> tuple[np.ndarray, np.ndarray]:
    """Return where words start, and where each ends; none goes beyond its text."""
    is_border = np.zeros(len(content) + 1, bool)
    is_border[borders] = True
    if unit == "character":
        is_border[:-1] |= (content & 0xC0) != 0x80
    before = np.concatenate([[False], is_word[:-1]])
    after = np.concatenate([is_word[1:], [False]])
    starts = np.flatnonzero(is_word & (~before | is_border[:-1]))
    stops = np.flatnonzero(is_word & (~after | is_border[1:])) + 1
    return starts, stops


def _sum_polynomials(values: np.ndarray, base: int) -> np.ndarray:
    """Return running sums of values times powers of a base, from 0 on: any run's polynomial is a difference of two."""
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(base, len(values)), dtype=np.uint64, out=sums[1:])
    return sums


def _cut(sums: np.ndarray, starts: np.ndarray, stops: np.ndarray, base: int) -> np.ndarray:
    """Return the polynomials of runs, wherever they stand."""
    polynomials: np.ndarray = (sums[stops] - sums[starts]) * _powers(pow(base, -1, 1 << 64), len(sums))[starts]
    return polynomials


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Return a random number for each byte, one for both cases of a letter and 0 for blanks; and what is a word."""
    codes = np.random.default_rng(_SEED).integers(1, 1 << 64, 256, np.uint64)
    codes[ord("A") : ord("Z") + 1] = codes[ord("a") : ord("z") + 1]
    codes[list(b" \t\n\r\f\v")] = 0
    in_word = np.array([byte >= 0x80 or chr(byte).isalnum() for byte in range(256)])
    return codes, in_word


def _powers(base: int, number: int) -> np.ndarray:
    """Return the first powers of a base; most slices are of one size, and only that of a huge text is larger."""
    length = SLICE_BYTES + 1 if number <= SLICE_BYTES + 1 else 1 << (number - 1).bit_length()
    return _raise(base, length)[:number]


@lru_cache(maxsize=8)
def _raise(base: int, number: int) -> np.ndarray:
    factors = np.full(number, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
