"""Words, shingles and digests of texts, computed by columns, are those that a loop over the texts would find."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eshop_ray.data.near_duplicates import words as hashed
from eshop_ray.data.near_duplicates.shingles import digest_words, read_shingles
from eshop_ray.data.near_duplicates.words import hash_words

ALPHABET = "ab AB\n.,-_'!é Éßﬁ\uff21鍋の한กé👍…"
WORD = re.compile(r"[぀-ヿ一-鿿฀-๿]|(?:(?![぀-ヿ一-鿿฀-๿])[^\W_])+")


def split(text):
    """Return the words as a reader would count them; none of a text without any."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def lists_of(lists):
    return [lists.values[start:stop].tolist() for start, stop in zip(lists.offsets, lists.offsets[1:], strict=False)]


@given(st.lists(st.text(ALPHABET, max_size=20), max_size=12))
@example(["", "", "a", "", "b a", ""])
def test_words_are_equal_where_a_loop_finds_equal_ones(texts):
    found = lists_of(hash_words(pa.array(texts, pa.string())))
    names = {}
    for text, own in zip(texts, found, strict=True):
        expected = split(text)
        assert len(own) == max(len(expected), 1)
        if expected:
            assert all(names.setdefault(hash_, word) == word for hash_, word in zip(own, expected, strict=True))
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Iron pan, 24 cm", "iron  PAN … 24 cm."),
        ("\uff21\uff22\uff23 ﬁne", "abc fine"),
        ("黒い鍋 Good", "黒い 鍋 good"),
        ("", "  \n"),
        (None, ""),
    ],
)
def test_texts_of_the_same_words(one, other):
    first, second = lists_of(hash_words(pa.array([one, other], pa.string())))
    assert first == second


@pytest.mark.parametrize(("one", "other"), [("!!!", "???"), ("👍", "👎"), ("", "!"), ("ab", "ba"), ("a b", "ab")])
def test_texts_of_other_words(one, other):
    first, second = lists_of(hash_words(pa.array([one, other])))
    assert first != second


def test_long_columns_are_hashed_as_short_ones(monkeypatch):
    texts = pa.array([f"word{number} {'x' * (number % 40)} größe" for number in range(300)])
    whole = hash_words(texts)
    monkeypatch.setattr(hashed, "SLICE_BYTES", 64)
    assert np.array_equal(hash_words(texts).values, whole.values)
    assert np.array_equal(hash_words(texts.slice(100, 50)).values, whole.take(np.arange(100, 150)).values)


def test_characters_are_units_without_the_blanks_between():
    one, other = lists_of(hash_words(pa.array(["Éa b", "éab"]), "character"))
    assert one == other
    assert len(one) == 3


def test_shingles_are_runs_and_a_short_text_is_one():
    texts = ["a b c d", "x a b c", "a b", "b a", "a b"]
    four, shifted, short, turned, same = lists_of(
        read_shingles(pa.array(texts), np.zeros(len(texts), np.uint64), "word", 3)
    )
    assert [len(own) for own in (four, shifted, short)] == [2, 2, 1]
    assert set(four) & set(shifted) == {four[0]}
    assert short == same != turned


def test_digests_tell_order_and_length():
    texts = ["a b", "b a", "a b b", "a", "A, b!"]
    first, second = digest_words(hash_words(pa.array(texts)))
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs[0] == pairs[4]
    assert len(set(pairs)) == 4
