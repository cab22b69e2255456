"""Scores as the competition has them, on answers of which the scores are known."""

from dataclasses import replace

import numpy as np
import pytest

from eshop_ray.evaluation.shopbench.scores import compare_models, count_tasks, describe_scores, judge_types
from eshop_ray.evaluation.significance import compare_pairs

SEED = 0


def right(questions):
    return [list(one.gold.target) if isinstance(one.gold.target, list) else one.gold.target for one in questions]


def answer(questions, **wrong):
    """The true answers, but for the first so many questions of a task, which get none."""
    left = dict(wrong)
    predictions = []
    for question, gold in zip(questions, right(questions), strict=True):
        is_wrong = left.get(question.group, 0) > 0
        left[question.group] = left.get(question.group, 0) - 1
        best = [1, 3, 2, 4, 5] if question.group == "orders" else gold
        predictions.append(None if is_wrong else best)
    return predictions


def test_means_are_over_tasks_then_over_tracks(load, rows):
    questions = load(rows).questions
    scores = describe_scores(count_tasks(questions, answer(questions, choices=3, packs=6)), SEED)
    found = {name: one["score"] for name, one in scores["tasks"].items()}
    assert found == pytest.approx({"choices": 0.5, "colors": 1, "packs": 0, "pairs": 1, "orders": 1, "titles": 1})
    tracks = {name: one["score"] for name, one in scores["tracks"].items()}
    assert tracks == pytest.approx({"1": 0.75, "2": 2 / 3, "4": 1.0})
    assert scores["overall"]["score"] == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert {name: one["num_members"] for name, one in scores["tracks"].items()} == {"1": 2, "2": 3, "4": 1}
    assert scores["types"]["multiple_choice"]["score"] == pytest.approx(0.25)
    assert scores["overall"]["num_rows"] == 36


def test_task_of_two_metrics_is_the_mean_of_its_rows(load, rows):
    questions = load(rows).questions
    scores = describe_scores(count_tasks(questions, answer(questions, titles=3)), SEED)
    assert scores["tasks"]["titles"]["metric"] == "bleu, rougel"
    assert scores["tasks"]["titles"]["score"] == pytest.approx(0.5)


def test_f1_is_over_the_counts_of_all_rows(load, rows):
    questions = load(rows).questions
    predictions = answer(questions)
    place = next(place for place, one in enumerate(questions) if one.group == "colors")
    predictions[place] = ["red", "blue", "green"]
    scores = describe_scores(count_tasks(questions, predictions), SEED)
    precision, recall = 6 / 8, 1.0
    assert scores["tasks"]["colors"]["score"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_intervals_hold_the_score_and_narrow_with_rows(load, rows):
    questions = load(rows).questions
    many = [replace(one, prompt=f"{one.prompt} {copy}") for copy in range(20) for one in questions]
    widths = []
    for some in (questions, many):
        predictions = [None if place % 2 else value for place, value in enumerate(answer(some))]
        scores = describe_scores(count_tasks(some, predictions), SEED)
        for one in (*scores["tasks"].values(), *scores["tracks"].values(), scores["overall"]):
            assert one["low"] <= one["score"] <= one["high"]
        widths.append(scores["overall"]["high"] - scores["overall"]["low"])
    assert 0 <= widths[1] <= widths[0] / 2 or widths == [0, 0]


def test_unreadable_and_missing_answers_count_as_wrong(load, rows):
    questions = load(rows).questions
    predictions = [
        -1 if one.group == "choices" else value for one, value in zip(questions, answer(questions), strict=True)
    ]
    task = describe_scores(count_tasks(questions, predictions), SEED)["tasks"]["choices"]
    assert (task["score"], task["num_unparsed"]) == (0.0, 6)


def test_models_are_compared_row_by_row(load, rows):
    questions = load(rows).questions
    better, worse = (count_tasks(questions, answer(questions, choices=number)) for number in (0, 6))
    found = compare_models(better, worse, SEED)
    own = compare_pairs("accuracy", better["choices"].counts, worse["choices"].counts, SEED)
    assert found["tasks"]["choices"]["difference"] == own.difference == 1.0
    assert found["tasks"]["choices"]["p_value"] == own.p_value == pytest.approx(2 / 2**6)
    assert found["tasks"]["choices"]["p_adjusted"] == pytest.approx(6 * 2 / 2**6)
    assert found["overall"]["difference"] == pytest.approx(1 / 2 / 3)
    assert found["overall"]["p_value"] == pytest.approx(2 / 2**6, abs=0.02)
    assert found["overall"]["low"] == found["overall"]["high"] == pytest.approx(1 / 6)
    assert compare_models(worse, worse, SEED)["overall"]["p_value"] == 1.0


def test_types_are_judged_and_the_wrong_ones_named(load, rows):
    questions = load(rows).questions
    lied = [replace(one, gold=replace(one.gold, task="generation")) for one in questions[:2]] + questions[2:]
    found = judge_types(lied)
    assert found["type_accuracy"] == pytest.approx(34 / 36)
    assert found["num_rows"] == 36
    assert found["confusion"]["generation"] == {"generation": 6, "multiple_choice": 1, "ner": 1}
    assert found["wrong"] == [questions[0].place, questions[1].place]
    assert 0.8 < found["low"] < 34 / 36 < found["high"] < 1
    assert np.isclose(judge_types(questions)["type_accuracy"], 1.0)
