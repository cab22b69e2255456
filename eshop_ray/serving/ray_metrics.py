"""Measurements on their way to Prometheus: Ray has an agent on each node that it can ask.

An address of the gateways themselves would show one of them, whichever a load balancer picks.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray.serve import metrics as ray_metrics

from eshop_ray.serving.metrics import METRICS, Metric

Write = Callable[[float, dict[str, str]], None]


class RayRecorder:
    """Hands measurements to Ray, with the replica of Ray Serve that they come from."""

    def __init__(self) -> None:
        self._writers: Mapping[str, Write] = {metric.name: _register(metric) for metric in METRICS}

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter, set a gauge, or put into a histogram."""
        self._writers[metric.name](value, labels)


def _register(metric: Metric) -> Write:
    described: dict[str, Any] = {"description": metric.description, "tag_keys": metric.labels}
    if metric.kind == "histogram":
        observe: Write = ray_metrics.Histogram(metric.name, boundaries=list(metric.boundaries), **described).observe
        return observe
    if metric.kind == "gauge":
        set_value: Write = ray_metrics.Gauge(metric.name, **described).set
        return set_value
    add: Write = ray_metrics.Counter(metric.name, **described).inc
    return add
