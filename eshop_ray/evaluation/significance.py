"""Whether one model is ahead of another on the same rows, and what so few rows could have shown at all.

test = compare_pairs("accuracy", counts_a, counts_b, seed=0)
test.difference, test.low, test.high, test.p_value  # -> (0.077, 0.018, 0.136, 0.008)
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest

from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.bootstrap import (
    LEVEL,
    add_up_clusters,
    check_pairs,
    draw_differences,
    draw_exchanges,
    fold,
)
from eshop_ray.tasks.metrics.metric import Numbers

NUM_DRAWS = 4000
"""A p-value is a share of so many draws: it is never below 1 / 4001, and a table of fifty tests is corrected by 50."""
MIN_ROWS = 30
"""Fewer say little: whoever shows a score of fewer marks it."""
SIGNIFICANT = 0.05
SMALLEST_SHOWN = 0.001
_ROUNDING = 1e-12
EQUAL = 1e-6
"""Difference of a row's scores that is none: a model that scores equal texts, beside other ones, gives them other last
digits."""
_POWER_Z = 1.959964 + 0.841621
"""Quantiles of the normal distribution: of a two-sided test at 5 %, and of a chance of 80 % to pass it."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A compared with B on the same rows."""

    test: Literal["mcnemar", "randomization"]
    """`mcnemar` for rows that are right or wrong, each by itself; else `randomization`."""
    difference: float
    """A's score minus B's."""
    low: float
    """Where the interval of the difference begins, 95 % unless said otherwise, by the paired bootstrap of clusters; no
    narrower than what McNemar's test goes by, where it is that test."""
    high: float
    p_value: float
    """Chance of such a difference, or a larger one either way, between models that are equally good."""
    num_rows: int
    num_clusters: int
    """Groups of rows that belong together; as many as rows where each stands by itself."""
    num_better: int
    """Rows on which A scores higher."""
    num_worse: int
    detectable: float | None
    """Smallest difference that four out of five such samples would show at 5 %: Card et al., "With Little Power Comes
    Great Responsibility", 2020. None where the answers do not differ, and rows do not tell how much they vary."""

    @property
    def is_small(self) -> bool:
        """Whether the rows are too few to rely on."""
        return self.num_clusters < MIN_ROWS


def compare_pairs(
    metric: str,
    counts_a: Numbers,
    counts_b: Numbers,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> PairedTest:
    """Compare two models row by row.

    Rows that are right or wrong and stand by themselves take the exact test of McNemar, "Note on the sampling error of
    the difference between correlated proportions", 1947: of the rows on which only one model is right, each is as
    likely to be A's as B's. All others take approximate randomization (Yeh, "More accurate tests for the statistical
    significance of result differences", 2000): the answers of A and B to the rows of a cluster are exchanged by the
    toss of a coin, and the p-value is the share of draws whose difference is as large as the one found. With a handful
    of clusters it is never small, where a bootstrap's would be.

    Args:
        metric: Name of a metric.
        counts_a: What `count_rows` of the metric returned for A's answers, (n, k) for at least one row.
        counts_b: The same of B's, row for row.
        seed: Of the draws.
        clusters: Of each row, the name of what it belongs to, such as a product or query; None: each to itself.
        level: Of the interval.

    Raises:
        UserError: if there is no such metric.
        ValueError: if A and B have different numbers of rows.
    """
    check_pairs(counts_a, counts_b)
    combine, num_rows = get_metric(metric).combine, len(counts_a)
    ahead = combine(counts_a) - combine(counts_b)
    num_better, num_worse = int((ahead > EQUAL).sum()), int((ahead < -EQUAL).sum())
    added_a, added_b = counts_a, counts_b
    if clusters is not None:
        added_a, added_b = add_up_clusters(counts_a, clusters), add_up_clusters(counts_b, clusters)
    num_clusters = len(added_a)
    is_plain = num_clusters == num_rows
    added_a, added_b = fold(added_a, seed), fold(added_b, seed)
    drawn = draw_differences(metric, added_a, added_b, seed, NUM_DRAWS)
    difference = float(combine(counts_a.sum(0)) - combine(counts_b.sum(0)))
    low, high = (float(edge) for edge in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    is_mcnemar = is_plain and get_metric(metric).is_mean and _are_right_or_wrong(combine(counts_a), combine(counts_b))
    if is_mcnemar:
        num_apart = num_better + num_worse
        p_value = float(binomtest(num_better, num_apart, 0.5).pvalue) if num_apart else 1.0
        exact_low, exact_high = _bound_exactly(num_better, num_worse, num_rows, level)
        low, high = min(low, exact_low), max(high, exact_high)
    else:
        exchanged = np.abs(draw_exchanges(metric, added_a, added_b, seed, NUM_DRAWS))
        p_value = float((1 + (exchanged >= abs(difference) - _ROUNDING).sum()) / (1 + NUM_DRAWS))
    return PairedTest(
        test="mcnemar" if is_mcnemar else "randomization",
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        num_rows=num_rows,
        num_clusters=num_clusters,
        num_better=num_better,
        num_worse=num_worse,
        detectable=_POWER_Z * float(drawn.std()) or None,
    )


def _bound_exactly(num_better: int, num_worse: int, num_rows: int, level: float) -> tuple[float, float]:
    """Return between which differences the share of rows on which A is right leaves it, which McNemar's test goes by.

    A bootstrap of four rows lost and none won never draws one that is won.
    """
    num_apart = num_better + num_worse
    if not num_apart:
        return 0.0, 0.0
    share = binomtest(num_better, num_apart).proportion_ci(level, "exact")
    return (2 * share.low - 1) * num_apart / num_rows, (2 * share.high - 1) * num_apart / num_rows


def adjust(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a table's tests such that one that is below 5 % is so for the table as a whole.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def add_adjusted(tests: Sequence[dict[str, Any]]) -> None:
    """Give each test of a table, the fields of a `PairedTest`, its corrected p-value as `p_adjusted`."""
    for test, p_adjusted in zip(tests, adjust([test["p_value"] for test in tests]), strict=True):
        test["p_adjusted"] = p_adjusted


def is_clear(difference: float, p_value: float) -> bool:
    """Whether A is ahead by more than chance explains."""
    return difference > 0 and p_value < SIGNIFICANT


def write_p_value(p_value: float) -> str:
    """Write a p-value as tables do."""
    return f"{p_value:.3f}" if p_value >= SMALLEST_SHOWN else f"below {SMALLEST_SHOWN}"


def write_num_rows(num_rows: int) -> str:
    """Write a number of rows, with an asterisk where it is too small for a score."""
    return f"{num_rows:,}{'*' if num_rows < MIN_ROWS else ''}"


def note_few_rows(nums_rows: Iterable[int]) -> list[str]:
    """Return the sentence that explains the asterisk, where there is one."""
    has_few = any(num_rows < MIN_ROWS for num_rows in nums_rows)
    return [f"A number of rows with an asterisk is below {MIN_ROWS}: its scores say little."] if has_few else []


def _are_right_or_wrong(*scores: Numbers) -> bool:
    return all(bool(np.isin(values, (0.0, 1.0)).all()) for values in scores)
