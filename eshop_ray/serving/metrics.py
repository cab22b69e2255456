"""What the endpoint counts and measures: the metrics by name, and what a request adds to them."""

from dataclasses import dataclass
from typing import Literal, Protocol

from eshop_ray.serving.visits import Visit

NONE = "-"
"""Value of a label that a request has no known value for. What a client makes up never becomes a series: addresses are
those of the documentation, tasks and keys those that were found."""

OF_BATCH = " (batch)"
"""Behind the address that a line of a batch asks."""

OF_REQUEST = ("route", "task", "key")
"""Labels: the address as the documentation writes it, the task, the id of the API key."""

DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; the last one is what a request may take unless the config says otherwise."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is counted or measured."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    """Of a histogram's buckets."""

    @property
    def exported_name(self) -> str:
        """As Prometheus sees it; a histogram's has `_bucket` and the like behind it."""
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"


REQUESTS = Metric(
    "eshop_requests",
    "counter",
    "Requests that are over, by status of HTTP; 499: the client left.",
    (*OF_REQUEST, "status"),
)
REJECTIONS = Metric(
    "eshop_rejections",
    "counter",
    "Requests that ended in an error, by its `code`.",
    (*OF_REQUEST, "reason"),
)
TOKENS = Metric(
    "eshop_tokens",
    "counter",
    "Tokens that the model read (`type` is `prompt`) and wrote (`completion`).",
    (*OF_REQUEST, "type"),
)
DURATION = Metric(
    "eshop_request_duration_seconds",
    "histogram",
    "From a request's first byte to the last of its answer.",
    OF_REQUEST,
    DURATIONS,
)
FIRST_TOKEN = Metric(
    "eshop_time_to_first_token_seconds",
    "histogram",
    "From the first byte of a request for a stream to the model's first token.",
    OF_REQUEST,
    DURATIONS,
)
IN_HAND = Metric("eshop_requests_in_hand", "gauge", "Requests that wait for their answer, or are being answered.")

METRICS = (REQUESTS, REJECTIONS, TOKENS, DURATION, FIRST_TOKEN, IN_HAND)


class Recorder(Protocol):
    """Where measurements go."""

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter, set a gauge, or put into a histogram.

        Args:
            metric: What was measured.
            value: How much; more than 0 for a counter.
            labels: A value for each of the metric's.
        """


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is recorded at one time."""

    metric: Metric
    value: float
    labels: dict[str, str]


class Tally:
    """Adds up what counters get until it is taken: a process that ends before it is asked hands that to another."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Metric, tuple[tuple[str, str], ...]], float] = {}

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter."""
        key = metric, tuple(labels.items())
        self._sums[key] = self._sums.get(key, 0) + value

    def take(self) -> tuple[Measurement, ...]:
        """Return what was counted since the last time."""
        sums, self._sums = self._sums, {}
        return tuple(Measurement(metric, value, dict(labels)) for (metric, labels), value in sums.items())


def record_visit(recorder: Recorder, visit: Visit) -> None:
    """Count a request that is over."""
    labels = _label(visit)
    _count(recorder, visit, labels)
    recorder.record(DURATION, visit.seconds, labels)
    if visit.first_token_seconds is not None:
        recorder.record(FIRST_TOKEN, visit.first_token_seconds, labels)


def record_line(recorder: Recorder, visit: Visit) -> None:
    """Count a line of a batch that the model was asked. How long it took says nothing: nobody waits for it."""
    labels = _label(visit)
    _count(recorder, visit, {**labels, "route": labels["route"] + OF_BATCH})


def _label(visit: Visit) -> dict[str, str]:
    return {"route": visit.route or NONE, "task": visit.task or NONE, "key": visit.key.id if visit.key else NONE}


def _count(recorder: Recorder, visit: Visit, labels: dict[str, str]) -> None:
    recorder.record(REQUESTS, 1, {**labels, "status": str(visit.status)})
    if visit.refusal is not None:
        recorder.record(REJECTIONS, 1, {**labels, "reason": visit.refusal})
    for kind, number in (("prompt", visit.num_read), ("completion", visit.num_written)):
        if number:
            recorder.record(TOKENS, number, {**labels, "type": kind})
