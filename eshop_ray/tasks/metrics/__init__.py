"""Metrics by name: ShopBench's nine under its own names, entity F1 and attribute F1.

    get_metric("ndcg").aggregate([[1.0, 0.0, 0.1]], [[1, 3, 2]])  # -> 1.0

A prediction of None is a row that failed: it scores 0. A missing library is a UserError, never a score.
"""

from collections.abc import Mapping
from types import MappingProxyType

from eshop_ray.errors import UserError, find_nearest
from eshop_ray.tasks.metrics.attributes import ATTRIBUTE_F1
from eshop_ray.tasks.metrics.choices import ACCURACY, HIT_RATE, MICRO_F1, NDCG
from eshop_ray.tasks.metrics.entities import ENTITY_F1
from eshop_ray.tasks.metrics.metric import Metric
from eshop_ray.tasks.metrics.similarity import MULTILINGUAL_SIMILARITY, SIMILARITY
from eshop_ray.tasks.metrics.texts import BLEU, JP_BLEU, ROUGE_L

__all__ = ["METRICS", "Metric", "get_metric"]

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            ACCURACY,
            HIT_RATE,
            ROUGE_L,
            SIMILARITY,
            MULTILINGUAL_SIMILARITY,
            MICRO_F1,
            NDCG,
            BLEU,
            JP_BLEU,
            ENTITY_F1,
            ATTRIBUTE_F1,
        )
    }
)
"""Metric by name."""


def get_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        UserError: if there is none; it names the nearest one and lists all.
    """
    if name not in METRICS:
        nearest = find_nearest(name, METRICS)
        raise UserError(f"unknown metric {name!r}; did you mean {nearest!r}? There are: {', '.join(METRICS)}")
    return METRICS[name]
