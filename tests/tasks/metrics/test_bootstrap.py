"""Bootstrap intervals: as wide as they should be, the same for the same seed, and cheap."""

import random
import time
import tracemalloc

import numpy as np
import pytest

from eshop_ray.errors import UserError
from eshop_ray.tasks.metrics import bootstrap, get_metric


def interval(metric, targets, answers, **settings):
    return bootstrap.interval(metric, get_metric(metric).count_rows(targets, answers), **settings)


def is_clearly_better(metric, targets, one, other, seed):
    counts = (get_metric(metric).count_rows(targets[: len(answers)], answers) for answers in (one, other))
    return bootstrap.is_clearly_better(metric, *counts, seed=seed)


def make_answers(num_rows, share, seed=0):
    """Right in `share` of the rows, else wrong; the targets are all 1."""
    chance = np.random.default_rng(seed)
    return [1] * num_rows, (chance.random(num_rows) < share).astype(int).tolist()


def test_interval_of_a_share_is_as_wide_as_theory_says():
    targets, answers = make_answers(871, 0.6)
    share = np.mean(answers)
    half = 1.96 * (share * (1 - share) / 871) ** 0.5
    low, high = interval("accuracy", targets, answers, seed=0, num_draws=4000)
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.1 * half)
    inner = interval("accuracy", targets, answers, seed=0, num_draws=4000, level=0.5)
    assert low < inner[0] < share < inner[1] < high


def test_f1_of_a_draw_is_that_of_its_rows():
    """Against drawing rows and scoring them anew, which is slow but plain."""
    chance = random.Random(1)
    targets = [chance.sample("abcdef", 3) for _ in range(40)]
    answers = [[*chance.sample(target, 2), "z"] if chance.random() < 0.5 else None for target in targets]
    scores = []
    for _ in range(2000):
        rows = chance.choices(range(40), k=40)
        scores.append(get_metric("micro f1").aggregate([targets[row] for row in rows], [answers[row] for row in rows]))
    assert interval("micro f1", targets, answers, seed=0) == pytest.approx(
        np.quantile(scores, [0.025, 0.975]), abs=0.02
    )


def test_seed_decides():
    targets, answers = make_answers(100, 0.5)
    assert interval("accuracy", targets, answers, seed=7) == interval("accuracy", targets, answers, seed=7)
    assert interval("accuracy", targets, answers, seed=7) != interval("accuracy", targets, answers, seed=8)


@pytest.mark.parametrize("answers", [[1], [0], [None]])
def test_one_row_has_an_interval_of_one_score(answers):
    score = get_metric("accuracy").aggregate([1], answers)
    assert interval("accuracy", [1], answers, seed=0) == (score, score)


def test_failed_rows_count_as_wrong():
    targets, answers = make_answers(50, 0.5)
    failed = [answer or None for answer in answers]
    assert interval("accuracy", targets, failed, seed=0) == interval("accuracy", targets, answers, seed=0)


def test_better_on_the_same_rows_is_clear_where_the_intervals_overlap():
    """The pairing: rows that are hard for both do not blur the difference."""
    targets, worse = make_answers(400, 0.5)
    better = [1 if row % 16 == 0 else answer for row, answer in enumerate(worse)]
    assert interval("accuracy", targets, better, seed=0)[0] < interval("accuracy", targets, worse, seed=0)[1]
    assert is_clearly_better("accuracy", targets, better, worse, seed=0)
    assert not is_clearly_better("accuracy", targets, worse, better, seed=0)


def test_chance_is_not_clear():
    one, other = (make_answers(200, 0.5, seed)[1] for seed in (1, 2))
    assert not is_clearly_better("accuracy", [1] * 200, one, other, seed=0)
    assert not is_clearly_better("accuracy", [1] * 200, other, one, seed=0)


@pytest.mark.parametrize("num_rows", [1, 2, 7, 333])
def test_nothing_is_better_than_itself(num_rows):
    chance = np.random.default_rng(num_rows)
    targets = [chance.random(5).tolist() for _ in range(num_rows)]
    answers = [(chance.permutation(5) + 1).tolist() for _ in range(num_rows)]
    assert not is_clearly_better("ndcg", targets, answers, answers, seed=0)


def test_false_alarms_are_as_rare_as_the_level_says():
    """Two models that are right equally often: 2.5 % of the comparisons call the first one better."""
    pairs = ((make_answers(150, 0.5, seed)[1], make_answers(150, 0.5, seed + 1000)[1]) for seed in range(200))
    alarms = [is_clearly_better("accuracy", [1] * 150, one, other, seed=0) for one, other in pairs]
    assert np.mean(alarms) < 0.07


def test_many_rows_take_no_more_memory():
    targets, answers = make_answers(100_000, 0.6)
    tracemalloc.start()
    low, high = interval("accuracy", targets, answers, seed=0, num_draws=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert high - low < 0.01
    assert peak < 64 * 2**20


def test_a_test_set_takes_milliseconds():
    targets, answers = make_answers(871, 0.6)
    start = time.perf_counter()
    interval("accuracy", targets, answers, seed=0)
    assert time.perf_counter() - start < 1.0


def test_bad_input_is_named():
    with pytest.raises(UserError, match="unknown metric"):
        interval("acuracy", [1], [1], seed=0)
    with pytest.raises(ValueError, match="2 rows cannot be paired with 1"):
        is_clearly_better("accuracy", [1, 1], [1, 1], [1], seed=0)
