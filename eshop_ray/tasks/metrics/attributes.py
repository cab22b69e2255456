"""Scores of attributes with their values: F1 over the pairs."""

from typing import Any

import numpy as np

from eshop_ray.tasks.metrics.metric import Metric, Numbers, Predictions, Targets, compute_f1


def _find_pairs(attributes: Any) -> set[tuple[str, str]]:
    """Return the pairs of attribute and value, white space and capitals aside; an attribute without a value is none."""
    return {
        (name, " ".join(str(value).split()).casefold())
        for name, value in (attributes or {}).items()
        if value is not None
    }


def _count_rows(targets: Targets, predictions: Predictions) -> Numbers:
    """Return true positives, false positives and false negatives of every row, (n, 3)."""
    pairs = [(_find_pairs(gold), _find_pairs(own)) for gold, own in zip(targets, predictions, strict=True)]
    counts = [(len(gold & own), len(own - gold), len(gold - own)) for gold, own in pairs]
    return np.array(counts, dtype=np.float64).reshape(-1, 3)


def _combine(counts: Numbers) -> Numbers:
    """Return micro F1 over pairs; 1 where there is none to find and none was found."""
    f1: Numbers = np.where(counts.any(axis=-1), compute_f1(counts), 1.0)
    return f1


def _score_rows(targets: Targets, predictions: Predictions) -> list[float]:
    scores = _combine(_count_rows(targets, predictions)).tolist()
    return [0.0 if own is None else score for own, score in zip(predictions, scores, strict=True)]


ATTRIBUTE_F1 = Metric(name="attribute f1", score_rows=_score_rows, count_rows=_count_rows, combine=_combine)
"""Targets and predictions are `{attribute: value or None}`."""
