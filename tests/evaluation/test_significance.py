"""Tests of two models on the same rows."""

import numpy as np
import pytest
from scipy.stats import norm

from eshop_ray.evaluation.significance import NUM_DRAWS, adjust, compare_pairs
from eshop_ray.tasks.metrics import get_metric


def compare(targets, one, other, metric="accuracy", **settings):
    count = get_metric(metric).count_rows
    return compare_pairs(metric, count(targets, one), count(targets, other), seed=0, **settings)


def test_pairs_tell_what_two_samples_do_not():
    """A published case: 220 rows, 133 right by both, 27 by the first only, 10 by the second only."""
    one = [1] * 133 + [1] * 27 + [0] * 10 + [0] * 50
    other = [1] * 133 + [0] * 27 + [1] * 10 + [0] * 50
    test = compare([1] * 220, one, other)
    shares, pooled = (160 / 220, 143 / 220), 303 / 440
    unpaired = 2 * norm.sf((shares[0] - shares[1]) / (pooled * (1 - pooled) * 2 / 220) ** 0.5)
    assert round(unpaired, 3) == 0.080
    assert test.test == "mcnemar"
    assert round(test.p_value, 3) == 0.008
    assert (test.num_better, test.num_worse, test.num_rows, test.num_clusters) == (27, 10, 220, 220)
    assert test.difference == pytest.approx(17 / 220)
    assert 0 < test.low < test.difference < test.high
    assert test.detectable == pytest.approx(2.8 * (37 - 17**2 / 220) ** 0.5 / 220, rel=0.05)
    back = compare([1] * 220, other, one)
    assert (back.p_value, back.difference) == (test.p_value, -test.difference)


@pytest.mark.parametrize("metric", ["accuracy", "micro f1"])
def test_equal_answers_differ_in_nothing(metric):
    rows = [1, 0, 1, None] * 10 if metric == "accuracy" else [["a"], None, ["b", "c"], []] * 10
    test = compare([1] * 40 if metric == "accuracy" else [["a"]] * 40, rows, rows, metric)
    assert (test.p_value, test.difference, test.low, test.high) == (1.0, 0.0, 0.0, 0.0)
    assert test.detectable is None


def test_last_digits_are_no_difference():
    one = np.stack([np.linspace(0.1, 0.9, 40), np.ones(40)], axis=1)
    other = one + np.stack([np.tile([1e-8, -1e-8], 20), np.zeros(40)], axis=1)
    found = compare_pairs("rougel", one, other, seed=0)
    assert (found.num_better, found.num_worse) == (0, 0)
    other[0, 0] += 0.01
    assert (compare_pairs("rougel", one, other, seed=0).num_worse) == 1


def test_rows_of_one_query_are_one_observation():
    """Ten rows each of four queries, all with one outcome per query: four observations, of which none can be sure."""
    one, other = [1] * 40, [0] * 40
    clusters = [f"query {row // 10}" for row in range(40)]
    assert compare([1] * 40, [*one[:30], *other[:10]], other, clusters=[str(row) for row in range(40)]).p_value < 1e-6
    test = compare([1] * 40, [*one[:30], *other[:10]], other, clusters=clusters)
    assert (test.test, test.num_clusters, test.is_small) == ("randomization", 4, True)
    assert test.p_value > 0.1
    alone = compare([1] * 40, [*one[:30], *other[:10]], other)
    assert test.high - test.low > 2 * (alone.high - alone.low)


def test_order_of_clusters_and_rows_does_not_count():
    chance = np.random.default_rng(0)
    targets, clusters = [["a"]] * 120, [str(row // 3) for row in range(120)]
    one, other = ([["a"] if right else ["b"] for right in chance.random(120) < share] for share in (0.7, 0.5))
    test = compare(targets, one, other, "micro f1", clusters=clusters)
    assert test.test == "randomization"
    order = chance.permutation(120)
    shuffled = [[values[place] for place in order] for values in (one, other, clusters)]
    again = compare(targets, *shuffled[:2], "micro f1", clusters=shuffled[2])
    assert again.difference == pytest.approx(test.difference)
    assert (again.low, again.high) == pytest.approx((test.low, test.high), abs=0.02)


@pytest.mark.parametrize("size", [1, 5])
def test_false_alarms_are_as_rare_as_five_in_a_hundred(size):
    """Two models that are equally good, right or wrong by whole clusters."""
    alarms = []
    for seed in range(150):
        chance = np.random.default_rng(seed)
        one, other = (np.repeat(chance.random(60) < 0.5, size).astype(int).tolist() for _ in range(2))
        clusters = [str(row // size) for row in range(60 * size)]
        alarms.append(compare([1] * len(one), one, other, clusters=clusters).p_value < 0.05)
    assert np.mean(alarms) < 0.09


def test_a_difference_that_can_be_detected_is_found_four_times_in_five():
    found = []
    for seed in range(30):
        chance = np.random.default_rng(seed)
        drawn = chance.random(400)
        one, other = (drawn < 0.65).astype(int), (drawn + 0.1 * chance.standard_normal(400) < 0.55).astype(int)
        found.append(compare([1] * 400, one.tolist(), other.tolist()))
    detectable = np.mean([test.detectable for test in found])
    assert detectable < 0.1  # the models are 0.1 apart
    assert np.mean([test.p_value < 0.05 for test in found]) > 0.8


def test_p_values_of_a_table():
    assert adjust([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust([0.5, 0.9]) == [1.0, 1.0]
    assert adjust([]) == []


def test_p_value_is_never_zero():
    test = compare([["a"]] * 200, [["a"]] * 200, [["b"]] * 200, "micro f1")
    assert test.p_value == 1 / (NUM_DRAWS + 1)


def test_rows_that_are_no_pairs():
    with pytest.raises(ValueError, match="2 rows cannot be paired with 1"):
        compare_pairs("accuracy", np.ones((2, 2)), np.ones((1, 2)), seed=0)
