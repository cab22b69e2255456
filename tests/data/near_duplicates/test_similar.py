"""The join finds what comparing all pairs would find, whatever the texts."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.data.near_duplicates import similar
from eshop_ray.data.near_duplicates.components import find_roots, flatten, unite
from eshop_ray.data.near_duplicates.shingles import read_shingles


def list_roots(texts, groups, threshold, num_words):
    """Return the first row that each hangs together with, as the join finds it."""
    edges = similar.find_similar(
        read_shingles(pa.array(texts), np.zeros(len(texts), np.uint64), "word", num_words), np.array(groups), threshold
    )
    parents = np.arange(len(texts))
    unite(parents, edges.left, edges.right)
    flatten(parents)
    return parents.tolist()


def compare_all(texts, groups, threshold, num_words):
    """Return the same by comparing each row with every other one."""
    shingles = []
    for text in texts:
        words = text.split()
        runs = {tuple(words[start : start + num_words]) for start in range(len(words) - num_words + 1)}
        shingles.append(runs or {tuple(words)})
    roots = list(range(len(texts)))
    for one, other in itertools.combinations(roots[:], 2):
        common, both = len(shingles[one] & shingles[other]), len(shingles[one] | shingles[other])
        if groups[one] == groups[other] and common >= threshold * both - 1e-9:
            low, high = sorted((roots[one], roots[other]))
            roots = [low if root == high else root for root in roots]
    return roots


@given(st.randoms(use_true_random=False), st.sampled_from([0.3, 0.5, 0.8, 0.9, 1.0]), st.integers(1, 3))
def test_the_join_is_exact(draw, threshold, num_words):
    texts = []
    for _ in range(draw.randint(1, 8)):
        words = [f"w{draw.randrange(draw.choice([4, 60]))}" for _ in range(draw.randint(0, 25))]
        for _ in range(draw.randint(1, 6)):
            changed = list(words)
            for _ in range(draw.randint(0, 3) if changed else 0):
                changed[draw.randrange(len(changed))] = f"w{draw.randrange(60)}"
            texts.append(" ".join(changed))
    groups = [draw.randrange(2) for _ in texts]
    assert list_roots(texts, groups, threshold, num_words) == compare_all(texts, groups, threshold, num_words)


@pytest.mark.parametrize("name", ["PAIRS_AT_ONCE", "ELEMENTS_AT_ONCE"])
def test_few_pairs_at_a_time_give_the_same(monkeypatch, name):
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdefgh", k=12)) for _ in range(60)]
    whole = list_roots(texts, [0] * 60, 0.4, 1)
    assert len(set(whole)) < 60
    monkeypatch.setattr(similar, name, 5)
    assert list_roots(texts, [0] * 60, 0.4, 1) == whole


def test_many_of_one_kind_are_not_compared_with_each_other(monkeypatch):
    """A thousand reviews that differ in one word each are half a million pairs."""
    compared = []
    measure = similar.measure
    monkeypatch.setattr(
        similar, "measure", lambda sets, *pairs: compared.append(len(pairs[0])) or measure(sets, *pairs)
    )
    stem = " ".join(f"w{number}" for number in range(50))
    assert set(list_roots([f"{stem} own{number}" for number in range(1000)], [0] * 1000, 0.8, 1)) == {0}
    assert sum(compared) < 3000


def test_rows_that_share_a_wording_only_are_not_compared(monkeypatch):
    """Prompts of one task share most of their words, and are alike too little all the same."""
    compared = []
    measure = similar.measure
    monkeypatch.setattr(
        similar, "measure", lambda sets, *pairs: compared.append(len(pairs[0])) or measure(sets, *pairs)
    )
    stem = " ".join(f"w{number}" for number in range(60))
    texts = [f"{stem} {' '.join(f'own{number}x{place}' for place in range(10))}" for number in range(500)]
    assert list_roots(texts, [0] * 500, 0.8, 1) == [*range(500)]
    assert sum(compared) == 0


def test_no_rows():
    assert list_roots([], [], 0.8, 5) == []


def test_sets_are_known_by_their_smallest_row():
    parents = np.arange(8, dtype=np.int32)
    unite(parents, np.array([7, 5, 2]), np.array([5, 3, 6]))
    unite(parents, np.array([6]), np.array([7]))
    assert find_roots(parents, np.array([7, 6, 4])).tolist() == [2, 2, 4]
