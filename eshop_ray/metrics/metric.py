"""What a metric is, and the two things that all of them share: failed rows and missing libraries."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from eshop_ray.errors import UserError

Targets = Sequence[Any]
"""Gold values of a group's rows."""

Predictions = Sequence[Any]
"""What the task's parser made of the answers, in the order of the targets; None for a row that failed."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A score between 0 and 1, per row and per group of rows.

    The two are apart because some groups are not the mean of their rows: F1 is taken over summed counts.
    """

    name: str
    """ShopBench's name of the metric."""
    score_rows: Callable[[Targets, Predictions], list[float]]
    """Targets, predictions -> one score per row; a failed row scores 0."""
    aggregate: Callable[[Targets, Predictions], float]
    """Targets, predictions of a group, at least one row -> the group's score."""


def mean_of_rows(name: str, score_rows: Callable[[Targets, Predictions], list[float]]) -> Metric:
    """Build a metric whose group score is the mean of its rows' scores."""

    def aggregate(targets: Targets, predictions: Predictions) -> float:
        return fmean(score_rows(targets, predictions))

    return Metric(name=name, score_rows=score_rows, aggregate=aggregate)


def score_each(score: Callable[[Any, Any], float], targets: Targets, predictions: Predictions) -> list[float]:
    """Score row by row; a failed row (prediction None) scores 0 and never reaches `score`."""
    pairs = zip(targets, predictions, strict=True)
    return [0.0 if prediction is None else score(target, prediction) for target, prediction in pairs]


def require(module: str, requirement: str) -> Any:
    """Import a metric's library when the metric is first used.

    Raises:
        UserError: with the install command. A library that is absent must not look like a model that scores 0.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"this metric needs `{module}` ({error}); run: pip install '{requirement}'") from error
