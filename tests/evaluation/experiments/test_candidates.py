from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.config import SearchSection
from eshop_ray.config.experiment import METHODS, WITH_DENSITY
from eshop_ray.evaluation.experiments.candidates import Candidate, build_candidates, build_weights

SHARES = st.floats(0.05, 1.0)


@st.composite
def searches(draw, max_candidates=10_000):
    lists = {
        "methods": st.lists(st.sampled_from(METHODS), min_size=1, unique=True),
        "scales": st.lists(st.floats(0.1, 3.0), min_size=1, max_size=3),
        "tilts": st.lists(st.floats(0.2, 5.0), max_size=3),
        "densities": st.lists(SHARES, min_size=1, max_size=3),
        "wise_ft": st.lists(SHARES, min_size=1, max_size=2),
    }
    return SearchSection(**{name: tuple(draw(values)) for name, values in lists.items()}, max_candidates=max_candidates)


def test_default_grid_for_four_adapters_is_a_sample_of_the_whole():
    whole = build_candidates(SearchSection(max_candidates=10_000), 4)
    num_vectors = 3 * (1 + 2 * 4)
    assert len(whole) == num_vectors * (3 + 5 * 2)
    sample = build_candidates(SearchSection(), 4)
    assert len(sample) == 240
    assert sample == whole[:240]
    assert set(METHODS) == {candidate.method for candidate in sample}


@given(searches(), st.integers(2, 6))
def test_each_candidate_stands_once_and_fits_the_grid(search, num_adapters):
    candidates = build_candidates(search, num_adapters)
    assert len({candidate.id for candidate in candidates}) == len(set(candidates)) == len(candidates)
    for candidate in candidates:
        assert candidate.method in search.methods
        assert len(candidate.weights) == num_adapters
        assert candidate.wise_ft in search.wise_ft
        assert candidate.density in (search.densities if candidate.method in WITH_DENSITY else (1.0,))


@given(searches(), st.integers(2, 6))
def test_weights_of_one_scale_have_one_sum(search, num_adapters):
    for weights in build_weights(search, num_adapters):
        assert min(abs(sum(weights) - num_adapters * scale) for scale in search.scales) < 1e-3


@given(st.floats(0.2, 5.0), st.integers(2, 6))
def test_tilted_adapter_weighs_so_many_times_as_much(tilt, num_adapters):
    even, *tilted = build_weights(SearchSection(scales=(1.0,), tilts=(tilt,)), num_adapters)
    assert even == (1.0,) * num_adapters
    for heavy, weights in enumerate(tilted):
        for place, weight in enumerate(weights):
            assert weights[heavy] / weight == pytest.approx(1 if place == heavy else tilt, rel=5e-3)


@given(searches(), st.integers(2, 5), st.integers(1, 300))
def test_sample_is_fair_and_the_beginning_of_a_larger_one(search, num_adapters, most):
    whole = build_candidates(search, num_adapters)
    sample = build_candidates(search.model_copy(update={"max_candidates": most}), num_adapters)
    assert sample == whole[:most]
    counts, totals = (Counter(candidate.method for candidate in part) for part in (sample, whole))
    for method, total in totals.items():
        share = len(sample) * total / len(whole)
        assert abs(counts[method] - share) <= 1 + len(totals) / 2


@given(searches(), st.integers(2, 5))
def test_even_weights_come_first_within_a_method(search, num_adapters):
    for method in search.methods:
        flags = [
            candidate.is_even for candidate in build_candidates(search, num_adapters) if candidate.method == method
        ]
        assert flags == sorted(flags, reverse=True)


def test_soups_are_the_means_of_all_subsets():
    weights = build_weights(SearchSection(scales=(), soups=True), 3)
    assert weights[0] == (0.3333, 0.3333, 0.3333)
    assert set(weights[1:]) == {(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_scale_of_zero_merges_nothing():
    assert build_weights(SearchSection(scales=(0.0,)), 2) == []


def test_candidate_keeps_its_name_and_becomes_a_merge():
    candidate = Candidate("ties", (0.5, 1.0), 0.3, 0.8)
    assert candidate.id == Candidate("ties", (0.5, 1.0), 0.3, 0.8).id == "ties-d78469f5"
    others = [
        Candidate("dare_ties", (0.5, 1.0), 0.3, 0.8),
        Candidate("ties", (1.0, 0.5), 0.3, 0.8),
        Candidate("ties", (0.5, 1.0), 0.4, 0.8),
        Candidate("ties", (0.5, 1.0), 0.3, 0.9),
    ]
    assert len({candidate.id, *(other.id for other in others)}) == 5
    merge = candidate.to_merge(["one", "two"], ["1" * 64, "2" * 64])
    assert (merge.method, merge.weights, merge.density, merge.wise_ft) == ("ties", (0.5, 1.0), 0.3, 0.8)
    assert (merge.adapters, merge.digests) == (("one", "two"), ("1" * 64, "2" * 64))
