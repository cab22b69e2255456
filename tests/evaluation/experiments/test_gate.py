import pytest

from eshop_ray.evaluation.experiments.promotion import choose, measure_lost

SINGLE = {"ner": 0.8, "ranking": 0.5}


def test_best_mean_of_those_that_cost_no_task_too_much():
    candidates = {
        "greedy": {"ner": 0.9, "ranking": 0.44},
        "fair": {"ner": 0.76, "ranking": 0.5},
        "weak": {"ner": 0.74, "ranking": 0.47},
    }
    chosen = choose(candidates, SINGLE, 0.1)
    assert (chosen.id, chosen.promoted) == ("fair", True)
    assert chosen.lost == pytest.approx({"ner": 0.05, "ranking": 0.0})
    assert "it costs ner 5.0% of its own adapter's score, no task more, and 10.0% are allowed" in chosen.verdict
    assert choose(candidates, SINGLE, 0.12).id == "greedy"


def test_the_limit_itself_passes():
    exact = {"edge": {"ner": 0.8 * 0.9, "ranking": 0.5 * 0.9}}
    assert choose(exact, SINGLE, 0.1).promoted
    assert not choose(exact, SINGLE, 0.0999).promoted


def test_no_merge_is_better_than_a_bad_one():
    candidates = {"worse": {"ner": 0.8, "ranking": 0.2}, "bad": {"ner": 0.6, "ranking": 0.4}}
    chosen = choose(candidates, SINGLE, 0.1)
    assert (chosen.id, chosen.promoted) == ("bad", False)
    assert "No merge is promoted" in chosen.verdict
    assert "ner 25.0% (0.800 -> 0.600), ranking 20.0% (0.500 -> 0.400) of the score" in chosen.verdict


def test_rejection_names_only_the_tasks_that_pay():
    assert "ranking" not in choose({"one": {"ner": 0.4, "ranking": 0.5}}, SINGLE, 0.1).verdict


def test_of_equal_merges_the_first_is_chosen():
    assert choose({"b": SINGLE, "a": SINGLE}, SINGLE, 0.0).id == "b"


def test_a_task_that_no_adapter_can_do_has_nothing_to_lose():
    single = {"ner": 0.0, "ranking": 0.5}
    assert measure_lost({"ner": 0.0, "ranking": 0.6}, single) == pytest.approx({"ner": 0.0, "ranking": -0.2})
    chosen = choose({"one": {"ner": 0.3, "ranking": 0.6}}, single, 0.0)
    assert chosen.promoted
    assert "no task scores lower than with its own adapter" in chosen.verdict
