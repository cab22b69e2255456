"""How far a score can be trusted: its rows are drawn again, with replacement, and every draw is scored.

    counts = get_metric("accuracy").count_rows(targets, predictions)
    interval("accuracy", counts, seed=0)  # -> (0.58, 0.64)

A group's score is a function of sums over its rows, so a draw is no more than how often it holds each row, and one
matrix product of these weights with the rows' counts gives the sums of all draws. What a few rows cannot know, draws
of them cannot know either: below some twenty rows intervals are too narrow, and rows that are all alike give none.

Rows that belong together, such as questions about one product, are drawn together: `add_up_clusters` makes one of them.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.metric import Numbers

NUM_DRAWS = 1000
LEVEL = 0.95
MAX_WEIGHTS = 2**20
"""Weights in memory at one time; more rows are drawn in several goes."""
MAX_UNITS = 10_000
"""Rows, or sums of them, that are drawn from."""


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
    low, high = np.quantile(draw_scores(metric, counts, seed, num_draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def draw_scores(metric: str, counts: Numbers, seed: int, num_draws: int = NUM_DRAWS) -> Numbers:
    """Return the group's score in each draw of its rows, (draws,).

    Args:
        metric: Name of a metric.
        counts: What `count_rows` of the metric returned for the group's rows, at least one.
        seed: Of the draws.
        num_draws: Draws, each of as many rows as there are.

    Raises:
        UserError: if there is no such metric.
    """
    combine, counts = get_metric(metric).combine, fold(counts, seed)
    return np.concatenate([combine(weights @ counts) for weights in _draw_weights(len(counts), num_draws, seed)])


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
    return bool(np.quantile(draw_differences(metric, counts_a, counts_b, seed), (1 - level) / 2) > 0)


def draw_differences(
    metric: str, counts_a: Numbers, counts_b: Numbers, seed: int, num_draws: int = NUM_DRAWS
) -> Numbers:
    """Return by how much A is ahead of B in each draw of rows, (draws,), both scored on the same draws.

    Args:
        metric: Name of a metric.
        counts_a: What `count_rows` of the metric returned for A's answers.
        counts_b: The same of B's, row for row.
        seed: Of the draws.
        num_draws: Draws, each of as many rows as there are.

    Raises:
        UserError: if there is no such metric.
        ValueError: if A and B have different numbers of rows.
    """
    check_pairs(counts_a, counts_b)
    combine = get_metric(metric).combine
    draws = _draw_weights(len(counts_a), num_draws, seed)
    return np.concatenate([combine(weights @ counts_a) - combine(weights @ counts_b) for weights in draws])


def check_pairs(counts_a: Numbers, counts_b: Numbers) -> None:
    """See that two models answered as many rows.

    Raises:
        ValueError: if they did not.
    """
    if len(counts_a) != len(counts_b):
        raise ValueError(f"{len(counts_a)} rows cannot be paired with {len(counts_b)}")


def draw_exchanges(metric: str, counts_a: Numbers, counts_b: Numbers, seed: int, num_draws: int = NUM_DRAWS) -> Numbers:
    """Return by how much A is ahead of B where each row's answers are exchanged by the toss of a coin, (draws,).

    Args:
        metric: Name of a metric.
        counts_a: What `count_rows` of the metric returned for A's answers.
        counts_b: The same of B's, row for row.
        seed: Of the draws.
        num_draws: Draws.
    """
    combine, random = get_metric(metric).combine, np.random.default_rng(seed)
    block = max(1, MAX_WEIGHTS // len(counts_a))
    drawn = []
    for start in range(0, num_draws, block):
        tosses = random.integers(2, size=(min(block, num_draws - start), len(counts_a))).astype(np.float64)
        moved = tosses @ (counts_b - counts_a)
        drawn.append(combine(counts_a.sum(0) + moved) - combine(counts_b.sum(0) - moved))
    return np.concatenate(drawn)


def fold(counts: Numbers, seed: int) -> Numbers:
    """Return counts of rows, added up by chance to at most `MAX_UNITS` units: many rows are drawn as fast as few.

    Sums of independent rows vary as the rows do: with so many units an interval is within a hundredth of its width.

    Args:
        counts: What `count_rows` of a metric returned, (n, k).
        seed: Of the division; the same gives the same for counts of another model.
    """
    if len(counts) <= MAX_UNITS:
        return counts
    order = np.random.default_rng(seed).permutation(len(counts))
    starts = np.linspace(0, len(counts), MAX_UNITS, endpoint=False).astype(np.int64)
    folded: Numbers = np.add.reduceat(counts[order], starts)
    return folded


def add_up_clusters(counts: Numbers, clusters: Sequence[Hashable]) -> Numbers:
    """Return the counts of rows added up by cluster, (clusters, k), in the order in which these first come.

    Source: Field and Welsh, "Bootstrapping Clustered Data", 2007: clusters are drawn, whole.

    Args:
        counts: What `count_rows` of a metric returned, (n, k).
        clusters: Of each row, the name of what it belongs to.
    """
    numbers: dict[Hashable, int] = {}
    places = np.fromiter((numbers.setdefault(name, len(numbers)) for name in clusters), np.int64, len(clusters))
    added = np.zeros((len(numbers), counts.shape[1]))
    np.add.at(added, places, counts)
    return added


def _draw_weights(num_rows: int, num_draws: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each row was drawn, (draws, rows), in blocks: multinomial weights, all rows as likely."""
    random = np.random.default_rng(seed)
    block = max(1, MAX_WEIGHTS // num_rows)
    for start in range(0, num_draws, block):
        size = min(block, num_draws - start)
        drawn = random.integers(num_rows, size=(size, num_rows)) + num_rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * num_rows).reshape(size, num_rows).astype(np.float64)
