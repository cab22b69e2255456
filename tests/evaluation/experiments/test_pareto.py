import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.evaluation.experiments.pareto import compare, find_front, pick_few, rank

PLACE = st.tuples(st.integers(1, 6), st.integers(1, 6))
PLACES = st.lists(PLACE, max_size=20)


def build(places):
    return [
        {"id": f"{number:02d}", "mean": place and place[0], "worst": place and place[1], "num_rows": 32}
        for number, place in enumerate(places)
    ]


def beats(one, other):
    pairs = [(one[name], other[name]) for name in ("mean", "worst")]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def test_ratios_say_what_each_task_gives_up():
    compared = compare({"ner": 0.9, "ranking": 2.4}, {"ner": 1.0, "ranking": 2.0})
    assert compared["ratios"] == {"ner": 0.9, "ranking": 1.2}
    assert (compared["mean"], compared["worst"]) == (pytest.approx(1.05), 1.2)


def test_loss_that_is_no_number_has_no_ratio():
    compared = compare({"ner": 0.5, "ranking": None}, {"ner": 1.0, "ranking": 2.0})
    assert compared == {"ratios": {"ner": 0.5, "ranking": None}, "mean": None, "worst": None}


@given(PLACES)
def test_nothing_beats_the_front_and_something_of_it_beats_every_other(places):
    candidates = build(places)
    front = find_front(candidates)
    for candidate in candidates:
        is_beaten = any(beats(other, candidate) for other in candidates)
        assert (candidate["id"] in front) != is_beaten


@given(st.lists(st.one_of(st.none(), PLACE), max_size=20))
def test_best_mean_stands_first_and_losses_without_numbers_last(places):
    ranked = rank(build(places))
    means = [candidate["mean"] for candidate in ranked]
    known = [mean for mean in means if mean is not None]
    assert means == sorted(known) + [None] * (len(means) - len(known))
    assert not any(candidate["is_pareto"] for candidate in ranked if candidate["mean"] is None)
    assert bool(known) == any(candidate["is_pareto"] for candidate in ranked)


def test_what_was_measured_by_few_rows_stands_behind_what_was_measured_by_more():
    first, best, last = build([(3, 3), (1, 1), None])
    candidates = [first, {**best, "num_rows": 8}, last]
    assert [(each["id"], each["is_pareto"]) for each in rank(candidates)] == [
        ("00", True),
        ("01", False),
        ("02", False),
    ]
    assert pick_few(candidates, 3) == ["00"]


def test_few_are_the_best_mean_the_best_worst_then_the_front():
    places = [(2, 2), (1, 9), (9, 1), (3, 3), (1.5, 4), None]
    assert pick_few(build(places), 1) == ["01"]
    assert pick_few(build(places), 2) == ["01", "02"]
    assert pick_few(build(places), 4) == ["01", "02", "00", "04"]
    assert pick_few(build(places), 9) == ["01", "02", "00", "04", "03"]


@given(PLACES, st.integers(1, 6))
def test_few_are_as_many_as_asked_for_and_no_one_twice(places, num):
    picked = pick_few(build(places), num)
    assert len(set(picked)) == len(picked) == min(num, len(places))


def test_one_candidate_best_in_both_is_named_once():
    assert pick_few(build([(1, 1), (2, 2)]), 2) == ["00", "01"]
