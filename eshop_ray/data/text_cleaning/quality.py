"""Why a text is left out: few rules, each of which a shop's editor understands."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.language import identify
from eshop_ray.data.near_duplicates.lists import Lists
from eshop_ray.data.near_duplicates.shingles import build_shingles
from eshop_ray.data.near_duplicates.words import UNSPACED, hash_words

MIN_WORDS = 20
"""Words repeat in no telling way in texts of fewer."""
NUM_SIGNS = 3
"""Of Chinese, Japanese and Thai that are compared as a word is: single ones recur in any text of some length."""
MIN_TELLING_WORDS = 3
"""Of texts of fewer the language is a guess: they stay."""
MIN_LETTERS = 20
"""Shorter texts of capitals may be names."""


def find_reasons(texts: pa.Array, section: TextCleaningSection) -> pa.Array:
    """Return why each text is left out, null where it stays; of several reasons the first of this order.

    `empty`, `too_short`, `too_long`, `few_letters`, `all_capitals`, `repeated_words`, `language`.
    """
    texts = pc.fill_null(texts, "")
    lengths = pc.cast(pc.utf8_length(texts), pa.int64())
    words = hash_words(texts)
    signs = pc.subtract(lengths, _count(texts, r"\s"))  # what is rare is counted: each match takes time
    letters = pc.subtract(signs, _count(texts, r"[^\p{L}\s]"))
    is_upper = pc.and_(pc.equal(pc.utf8_upper(texts), texts), pc.not_equal(pc.utf8_lower(texts), texts))
    rules = {
        "empty": pc.equal(signs, 0),
        "too_short": pc.less(lengths, section.min_characters),
        "too_long": pc.greater(lengths, section.max_characters),
        "few_letters": pc.less(letters, pc.multiply(signs, section.min_letter_share)),
        "all_capitals": pc.and_(is_upper, pc.greater_equal(letters, MIN_LETTERS)),
        "repeated_words": pa.array(_measure_repeats(texts, words) > section.max_repeated_share),
    }
    if section.languages:
        is_other = pc.invert(pc.is_in(pa.array(identify(texts.to_pylist(), ())), pa.array(section.languages)))
        rules["language"] = pc.and_(is_other, pa.array(words.sizes >= MIN_TELLING_WORDS))
    found = pc.case_when(pc.make_struct(*rules.values()), *rules)
    return found.cast(pa.string())


def _count(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.cast(pc.count_substring_regex(texts, pattern), pa.int64())


def _measure_repeats(texts: pa.Array, words: Lists) -> np.ndarray:
    """Return the share of a text's words that stood in it before; of texts without blanks, of runs of its letters."""
    share = _share_repeated(words)
    num_unspaced = _count(texts, UNSPACED).to_numpy(zero_copy_only=False)
    unspaced = np.flatnonzero(2 * num_unspaced > words.sizes)
    if len(unspaced):
        share[unspaced] = _share_repeated(build_shingles(words.take(unspaced), NUM_SIGNS))
    return share


def _share_repeated(words: Lists) -> np.ndarray:
    """Return the share of a text's words that stood in it before, 0 of short ones."""
    # The row in the high bits, most of the hash in the low ones: one sort of numbers finds all repeats.
    keys = np.sort((words.rows.astype(np.uint64) << np.uint64(40)) | (words.values >> np.uint64(24)))
    again = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(40)
    repeated = np.bincount(again.astype(np.int64), minlength=len(words))
    share: np.ndarray = np.where(words.sizes >= MIN_WORDS, repeated / np.maximum(words.sizes, 1), 0.0)
    return share
