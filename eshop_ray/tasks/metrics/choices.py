"""Scores of answers that choose or order options: accuracy, hit rate@3, NDCG and micro F1, as in ShopBench."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eshop_ray.tasks.metrics.metric import Metric, Numbers, Predictions, Targets, compute_f1, mean_of_rows, score_each


def score_accuracy(target: Any, prediction: Any) -> float:
    """Return 1 for equality, else 0."""
    return float(prediction == target)


def score_hit_rate(target: Sequence[int], prediction: Sequence[int]) -> float:
    """Return the share of the true items among the first three predicted; 0 where nothing was to be found."""
    return len(set(target) & set(prediction[:3])) / len(target) if target else 0.0


def score_ndcg(target: Sequence[float], prediction: Sequence[int]) -> float:
    """Return the normalised discounted cumulative gain, with gain `2^relevance - 1` and discount `log2(rank + 1)`.

    `target` holds each option's relevance, `prediction` 1-based options, best first, cut to as many as there are.
    An option beyond the last has relevance 0. Option 0 reads the last one's relevance: the benchmark indexes with
    `option - 1`, and that is kept. 0 where no option is relevant.

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4), 2002; gains as
    in ShopBench.
    """
    options = prediction[: len(target)]
    found = [target[option - 1] if option - 1 < len(target) else 0.0 for option in options]
    ideal = _discounted_gain(sorted(target, reverse=True))
    return _discounted_gain(found) / ideal if ideal else 0.0


def _discounted_gain(relevances: Sequence[float]) -> float:
    gains = ((np.power(2.0, relevance) - 1) / np.log2(rank + 1) for rank, relevance in enumerate(relevances, start=1))
    return float(sum(gains))


def count_entities(target: Sequence[str], prediction: Sequence[str]) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of one row.

    Strings are compared in lower case, without white space around them. True positives are counted between sets,
    the other two against the full lists: a repeated entity is a false positive.
    """
    expected = [entity.lower().strip() for entity in target]
    found = [entity.lower().strip() for entity in prediction]
    true_positives = len(set(found) & set(expected))
    return true_positives, len(found) - true_positives, len(expected) - true_positives


def _score_entity_row(target: Sequence[str], prediction: Sequence[str]) -> float:
    if not target and not prediction:
        return 1.0
    return float(compute_f1(np.array(count_entities(target, prediction))))


def _count_rows(targets: Targets, predictions: Predictions) -> Numbers:
    pairs = zip(targets, predictions, strict=True)
    return np.array([count_entities(target, prediction or []) for target, prediction in pairs], dtype=np.float64)


ACCURACY = mean_of_rows("accuracy", lambda targets, predictions: score_each(score_accuracy, targets, predictions))
HIT_RATE = mean_of_rows("hit rate@3", lambda targets, predictions: score_each(score_hit_rate, targets, predictions))
NDCG = mean_of_rows("ndcg", lambda targets, predictions: score_each(score_ndcg, targets, predictions))
MICRO_F1 = Metric(
    name="micro f1",
    score_rows=lambda targets, predictions: score_each(_score_entity_row, targets, predictions),
    count_rows=_count_rows,
    combine=compute_f1,
)
"""F1 of a group's summed counts; a failed row counts as an empty answer."""
