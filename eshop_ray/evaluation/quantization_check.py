"""What a derived model costs of its parents' scores, and whether a quantized one may stand in for its parent."""

import logging
from collections.abc import Mapping
from typing import Any

from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

Scores = Mapping[str, float]
"""Task or group -> score between 0 and 1."""

_ROUNDING = 1e-9


def check_quantized(metrics: Mapping[str, Mapping[str, Any]], settings: QuantizeSection) -> None:
    """Refuse a quantized model that loses too much; without its scores, or its parent's, there is nothing to compare.

    Args:
        metrics: Model -> content of its `metrics.json`.
        settings: Name the parent and the limit.

    Raises:
        UserError: naming every group that loses more than `max_lost_share` of the parent's score, or if the two have
            not answered the same rows.
    """
    if "quantized" not in metrics:
        return
    if settings.model not in metrics:
        logger.info("not compared with `%s`, which `infer.models` leaves out: the quantized model", settings.model)
        return
    groups, parents = metrics["quantized"]["groups"], metrics[settings.model]["groups"]
    if _count_rows(groups) != _count_rows(parents):
        raise UserError(
            f"`quantized` and `{settings.model}` have not answered the same rows; run `eshop batch-infer` "
            "with both in `infer.models`"
        )
    scores, parent_scores = _list_scores(groups), _list_scores(parents)
    lost = measure_lost(scores, parent_scores)
    worst = max(lost, key=lambda name: lost[name])
    if not is_allowed(lost[worst], settings.max_lost_share):
        costs = word_costs(scores, parent_scores, settings.max_lost_share)
        raise UserError(
            f"the quantized model is not promoted: it costs {costs} of the score of `{settings.model}`, and "
            f"{settings.max_lost_share:.1%} are allowed; use `{settings.model}`, leave layers out "
            "(`quantize.ignore`), or raise `quantize.max_lost_share`"
        )
    logger.info("the quantized model is promoted: no group loses more than %.1f%%", 100 * max(0.0, lost[worst]))


def measure_lost(scores: Scores, parent_scores: Scores) -> dict[str, float]:
    """Return the share of each parent score that is lost, below 0 where it is gained; of 0 nothing is lost."""
    return {name: (score - scores[name]) / score if score else 0.0 for name, score in parent_scores.items()}


def is_allowed(lost_share: float, max_lost_share: float) -> bool:
    """Whether a loss is within the limit, the limit itself included."""
    return lost_share <= max_lost_share + _ROUNDING


def word_costs(scores: Scores, parent_scores: Scores, max_lost_share: float) -> str:
    """Return `NAME 12.3% (0.500 -> 0.439), ...`, the worst first, for all that lose more than the limit."""
    lost = sorted(measure_lost(scores, parent_scores).items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {share:.1%} ({parent_scores[name]:.3f} -> {scores[name]:.3f})"
        for name, share in lost
        if not is_allowed(share, max_lost_share)
    )


def _count_rows(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return {name: group["num_rows"] for name, group in groups.items()}


def _list_scores(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: group["score"] for name, group in groups.items()}
