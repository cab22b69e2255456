import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.training.packing.bin_packing import fill_packs


@st.composite
def lengths(draw):
    """Own lengths, groups and shared lengths of the rows of a step."""
    num_rows = draw(st.integers(0, 40))
    groups = np.array(draw(st.lists(st.integers(0, 5), min_size=num_rows, max_size=num_rows)), dtype=np.int64)
    own = np.array(draw(st.lists(st.integers(1, 50), min_size=num_rows, max_size=num_rows)), dtype=np.int64)
    shared = np.array(draw(st.lists(st.integers(0, 60), min_size=6, max_size=6)), dtype=np.int64)
    return own, groups, shared[groups]


def measure(pack, own, groups, shared):
    """Return the tokens of a pack: each group's shared part once, and the rows' own."""
    _, first = np.unique(groups[pack], return_index=True)
    return int(own[pack].sum() + shared[pack][first].sum())


@given(lengths(), st.integers(1, 200), st.integers(1, 4))
def test_every_row_is_in_one_pack_no_longer_than_asked(drawn, pack_length, num_shares):
    own, groups, shared = drawn
    packs = fill_packs(own, groups, shared, pack_length, num_shares)
    assert sorted(row for pack in packs for row in pack.tolist()) == list(range(len(own)))
    for pack in packs:
        assert measure(pack, own, groups, shared) <= pack_length or len(pack) == 1
        keys = [(groups[row], own[row], row) for row in pack]
        assert keys == sorted(keys)


@given(lengths(), st.integers(1, 200), st.integers(2, 4))
def test_workers_get_the_same_number_of_packs_if_there_are_rows_enough(drawn, pack_length, num_shares):
    own, groups, shared = drawn
    packs = fill_packs(own, groups, shared, pack_length, num_shares)
    assert len(packs) % num_shares == 0 or len(packs) == len(own)


def test_packs_are_few_and_equal_in_length():
    random = np.random.default_rng(0)
    own, groups, shared = random.integers(10, 120, 400), random.integers(0, 3, 400), np.array([158, 90, 0])
    shared = shared[groups]
    packs = fill_packs(own, groups, shared, 1024)
    sizes = [measure(pack, own, groups, shared) for pack in packs]
    least = own.sum() + sum(np.unique(shared))
    assert len(packs) <= -(-least // 1024) + 3
    assert sum(sizes) / (len(packs) * max(sizes)) > 0.97


def test_one_group_in_one_pack_if_it_fits():
    own = np.full(20, 10)
    groups = np.repeat([0, 1], 10)
    packs = fill_packs(own, groups, np.full(20, 60), 160)
    assert [sorted(set(groups[pack])) for pack in packs] == [[0], [1]]


@pytest.mark.parametrize("num_shares", [1, 2])
def test_no_rows_no_packs(num_shares):
    nothing = np.zeros(0, dtype=np.int64)
    assert fill_packs(nothing, nothing, nothing, 10, num_shares) == []
