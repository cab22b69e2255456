"""Signatures: texts that are alike agree in a band as often as the formula says."""

import numpy as np
import pytest

from eshop_ray.data.near_duplicates.bands import MAX_HASHES, MAX_MISS, choose_bands, sign
from eshop_ray.data.near_duplicates.lists import Lists, to_offsets


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_miss_hardly_any(threshold):
    bands = choose_bands(threshold)
    assert bands.num_hashes <= MAX_HASHES
    assert 1 - bands.chance(threshold) <= MAX_MISS * 1.01
    assert bands.chance(threshold / 2) < bands.chance(threshold)


@pytest.mark.parametrize("common", [40, 80, 95])
def test_signatures_agree_as_often_as_sets_are_alike(common):
    num_pairs, size = 3000, 100
    drawn = np.random.default_rng(7).integers(0, 1 << 64, (num_pairs, 2 * size - common), np.uint64)
    sets = np.concatenate([drawn[:, :size], drawn[:, size - common :]])
    shingles = Lists(sets.ravel(), to_offsets(np.full(2 * num_pairs, size)))
    likeness = common / (2 * size - common)
    bands = choose_bands(0.8)
    keys = sign(shingles, bands)
    agree = keys[:num_pairs] == keys[num_pairs:]
    assert agree.mean() == pytest.approx(likeness**bands.num_rows, abs=0.02)
    assert agree.any(axis=1).mean() == pytest.approx(bands.chance(likeness), abs=0.04)


def test_keys_do_not_depend_on_the_rows_around():
    values = np.random.default_rng(3).integers(0, 1 << 64, 200_000, np.uint64)
    shingles = Lists(values, to_offsets(np.full(2000, 100)))
    keys = sign(shingles, choose_bands(0.8))
    some = np.array([5, 700, 1999])
    assert np.array_equal(sign(shingles.take(some), choose_bands(0.8)), keys[some])
    assert len(np.unique(keys)) == keys.size
