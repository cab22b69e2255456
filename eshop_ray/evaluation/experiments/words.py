"""The words and numbers of an experiment's report."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.evaluation.significance import write_p_value
from eshop_ray.reporting.page import code
from eshop_ray.reporting.words import NONE


def word_weights(names: Sequence[str], weights: Sequence[float]) -> str:
    """Word one weight per adapter, in a sentence: 0.7 each, or the weight of most and who differs."""
    common, times = Counter(weights).most_common(1)[0]
    usual = None if times == 1 else common
    told = [f"{code(name)} {weight:g}" for name, weight in zip(names, weights, strict=True) if weight != usual]
    if len(set(weights)) == 1:
        return f"{common:g} each"
    return ", ".join(told if usual is None else [*told, f"the others {common:g}"])


def write_weights(names: Sequence[str], weights: Sequence[float]) -> str:
    """Write one weight per adapter, in a cell: `0.7`, `0.7, ner 1.05` or, where most differ, all of them."""
    common, times = Counter(weights).most_common(1)[0]
    if times == 1:
        return ", ".join(f"{weight:g}" for weight in weights)
    pairs = zip(names, weights, strict=True)
    return ", ".join([f"{common:g}", *(f"{name} {weight:g}" for name, weight in pairs if weight != common)])


def write_score(score: Mapping[str, float] | None) -> str:
    """Write a score with its interval: `0.612 (0.58-0.64)`."""
    return NONE if score is None else f"{score['score']:.3f} ({score['low']:.2f}-{score['high']:.2f})"


def write_test(test: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Write a paired test: `0.077 (0.02-0.14)`, `27 against 10`, p, and what could have been shown."""
    return (
        f"{test['difference']:.3f} ({test['low']:.2f}-{test['high']:.2f})",
        f"{test['num_better']:,} against {test['num_worse']:,}",
        write_p_value(test["p_adjusted"]),
        write_number(test["detectable"]),
    )


def write_number(number: float | None) -> str:
    """Write a score, a ratio or a cosine; there may be none."""
    return NONE if number is None or not math.isfinite(number) else f"{number:.3f}"
