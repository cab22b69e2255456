"""How far a score can be trusted: its rows are drawn again, with replacement, and every draw is scored.

    counts = get_metric("accuracy").count_rows(targets, predictions)
    interval("accuracy", counts, seed=0)  # -> (0.58, 0.64)

A group's score is a function of sums over its rows, so a draw is no more than how often it holds each row, and one
matrix product of these weights with the rows' counts gives the sums of all draws. What a few rows cannot know, draws
of them cannot know either: below some twenty rows intervals are too narrow, and rows that are all alike give none.
"""

from collections.abc import Iterator

import numpy as np

from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.metric import Numbers

NUM_DRAWS = 1000
LEVEL = 0.95
MAX_WEIGHTS = 2**20
"""Weights in memory at one time; more rows are drawn in several goes."""


def interval(
    metric: str, counts: Numbers, seed: int, num_draws: int = NUM_DRAWS, level: float = LEVEL
) -> tuple[float, float]:
    """Return the percentile interval of a group's score.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Args:
        metric: Name of a metric.
        counts: What `count_rows` of the metric returned for the group's rows, at least one.
        seed: Of the draws.
        num_draws: Draws, each of as many rows as there are.
        level: Share of the draws' scores that lie within.

    Raises:
        UserError: if there is no such metric.
    """
    combine = get_metric(metric).combine
    scores = [combine(weights @ counts) for weights in _draw_weights(len(counts), num_draws, seed)]
    low, high = np.quantile(np.concatenate(scores), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def is_clearly_better(metric: str, counts_a: Numbers, counts_b: Numbers, seed: int, level: float = LEVEL) -> bool:
    """Whether A beats B on the same rows by more than the choice of rows explains.

    Both are scored on the same draws; A is clearly better if the interval of the differences lies above 0.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", 2004.

    Args:
        metric: Name of a metric.
        counts_a: What `count_rows` of the metric returned for A's answers.
        counts_b: The same of B's, row for row.
        seed: Of the draws.
        level: Share of the draws' differences that lie within the interval.

    Raises:
        UserError: if there is no such metric.
        ValueError: if A and B have different numbers of rows.
    """
    if len(counts_a) != len(counts_b):
        raise ValueError(f"{len(counts_a)} rows cannot be paired with {len(counts_b)}")
    combine = get_metric(metric).combine
    draws = _draw_weights(len(counts_a), NUM_DRAWS, seed)
    differences = [combine(weights @ counts_a) - combine(weights @ counts_b) for weights in draws]
    return bool(np.quantile(np.concatenate(differences), (1 - level) / 2) > 0)


def _draw_weights(num_rows: int, num_draws: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each row was drawn, (draws, rows), in blocks: multinomial weights, all rows as likely."""
    random = np.random.default_rng(seed)
    block = max(1, MAX_WEIGHTS // num_rows)
    for start in range(0, num_draws, block):
        size = min(block, num_draws - start)
        drawn = random.integers(num_rows, size=(size, num_rows)) + num_rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * num_rows).reshape(size, num_rows).astype(np.float64)
