"""What the canary compared, in the report."""

from collections.abc import Iterator, Mapping
from typing import Any

from eshop_ray.reporting.page import Section, Table
from eshop_ray.reporting.words import NONE

_HEADER = (
    *("task", "answers", "rows of the table", "failed", "failed before"),
    *("median tokens", "median tokens before", "moved labels"),
)


def show_canary(stats: Mapping[str, Any]) -> Iterator[Section]:
    """Yield the section, if the night had a canary."""
    rows = [
        (
            task["task"],
            f"{task['num_answers']:,}",
            f"{task['num_compared']:,}",
            _share(task["failed_share"]),
            _share(task["failed_share_before"]),
            _number(task["length"]),
            _number(task["length_before"]),
            _share(task["label_shift"]),
        )
        for task in stats.get("canary") or ()
    ]
    if rows:
        sentence = "The first answers of the night, drawn from all its questions, beside recent rows of the table."
        yield Section("The canary", [sentence], [Table(_HEADER, rows)])


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,g}"
