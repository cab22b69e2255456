"""Whether a quantized model may stand in for the one it was made from."""

import logging
from collections.abc import Mapping
from typing import Any

from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

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
            f"`quantized` and `{settings.model}` have not answered the same rows; run `python -m jobs.batch_infer` "
            "with both in `infer.models`"
        )
    lost = measure_lost(_list_scores(groups), _list_scores(parents))
    worst = max(lost, key=lambda name: lost[name])
    if lost[worst] > settings.max_lost_share + _ROUNDING:
        costs = ", ".join(
            f"{name} {share:.1%} ({parents[name]['score']:.3f} -> {groups[name]['score']:.3f})"
            for name, share in sorted(lost.items(), key=lambda item: -item[1])
            if share > settings.max_lost_share + _ROUNDING
        )
        raise UserError(
            f"the quantized model is not promoted: it costs {costs} of the score of `{settings.model}`, and "
            f"{settings.max_lost_share:.1%} are allowed; use `{settings.model}`, leave layers out "
            "(`quantize.ignore`), or raise `quantize.max_lost_share`"
        )
    logger.info("the quantized model is promoted: no group loses more than %.1f%%", 100 * max(0.0, lost[worst]))


def measure_lost(scores: Mapping[str, float], parent_scores: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each group's parent score that is lost, below 0 where it is gained; of 0 nothing is lost."""
    return {name: (score - scores[name]) / score if score else 0.0 for name, score in parent_scores.items()}


def _count_rows(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return {name: group["num_rows"] for name, group in groups.items()}


def _list_scores(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: group["score"] for name, group in groups.items()}
