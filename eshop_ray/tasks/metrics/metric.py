"""What a metric is, and the two things that all of them share: failed rows and missing libraries."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eshop_ray.errors import UserError

Targets = Sequence[Any]
"""Gold values of a group's rows."""

Predictions = Sequence[Any]
"""What the task's parser made of the answers, in the order of the targets; None for a row that failed."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score between 0 and 1, per row and per group of rows.

    The two are apart because some groups are not the mean of their rows: F1 is taken over summed counts. Every group
    score is a function of sums over rows, so that who draws rows many times over counts each of them once
    (`eshop_ray.tasks.metrics.bootstrap`).
    """

    name: str
    """ShopBench's name of the metric."""
    score_rows: Callable[[Targets, Predictions], list[float]]
    """Targets, predictions -> one score per row; a failed row scores 0."""
    count_rows: Callable[[Targets, Predictions], Numbers]
    """Targets, predictions of n rows -> what each adds to the group's k sums, (n, k)."""
    combine: Callable[[Numbers], Numbers]
    """Sums of groups, (..., k) -> their scores, (...)."""
    is_mean: bool = False
    """Whether a group's score is the mean of its rows' scores."""

    def aggregate(self, targets: Targets, predictions: Predictions) -> float:
        """Return the score of a group.

        Raises:
            ValueError: if the group has no rows.
        """
        counts = self.count_rows(targets, predictions)
        if not len(counts):
            raise ValueError(f"{self.name}: a group without rows has no score")
        return float(self.combine(np.array([fsum(column) for column in counts.T])))


def mean_of_rows(name: str, score_rows: Callable[[Targets, Predictions], list[float]]) -> Metric:
    """Build a metric whose group score is the mean of its rows' scores."""

    def count_rows(targets: Targets, predictions: Predictions) -> Numbers:
        scores = np.array(score_rows(targets, predictions), dtype=np.float64)
        return np.column_stack([scores, np.ones_like(scores)])

    def combine(sums: Numbers) -> Numbers:
        mean: Numbers = sums[..., 0] / sums[..., 1]
        return mean

    return Metric(name=name, score_rows=score_rows, count_rows=count_rows, combine=combine, is_mean=True)


def score_each(score: Callable[[Any, Any], float], targets: Targets, predictions: Predictions) -> list[float]:
    """Score row by row; a failed row (prediction None) scores 0 and never reaches `score`."""
    pairs = zip(targets, predictions, strict=True)
    return [0.0 if prediction is None else score(target, prediction) for target, prediction in pairs]


def compute_f1(counts: Numbers) -> Numbers:
    """Return the harmonic mean of precision and recall; 0 without true positives.

    Args:
        counts: True positives, false positives and false negatives, (..., 3).
    """
    true_positives, false_positives, false_negatives = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    is_found = true_positives > 0
    precision = true_positives / np.where(is_found, true_positives + false_positives, 1.0)
    recall = true_positives / np.where(is_found, true_positives + false_negatives, 1.0)
    f1: Numbers = 2 * precision * recall / np.where(is_found, precision + recall, 1.0)
    return f1


def require(module: str, requirement: str) -> Any:
    """Import a metric's library when the metric is first used.

    Raises:
        UserError: with the install command. A library that is absent must not look like a model that scores 0.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"this metric needs `{module}` ({error}); run: pip install '{requirement}'") from error
