"""A pass of Ray Data over small descriptions of work: each becomes a task, and its reports stream to the driver."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset

from eshop_ray.datasets import map_items, user_errors
from eshop_ray.schema import Row, decode, encode


def map_tasks(function: Callable[[Any], Row | Iterable[Row]], items: Sequence[Any]) -> Iterator[Row]:
    """Yield what a function returns or yields for each item, in any order.

    Raises:
        UserError: as the function raised it, from whichever node.
    """
    if not items:
        return

    def apply(item: Any) -> Iterator[pa.Table]:
        reports = function(item)
        for report in [reports] if isinstance(reports, dict) else reports:
            yield to_report(report)

    yield from read_reports(map_items(apply, items))


def run_beside(function: Callable[[Any], Row], items: Sequence[Any]) -> Iterator[Row]:
    """Yield what a function returns for each item, in any order, while a pass of Ray Data is under way.

    The tasks ask for no CPU of Ray's: the pass may hold all of them until it has been taken further.

    Raises:
        UserError: as the function raised it, from whichever node.
    """
    task = ray.remote(num_cpus=0, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD")(function_of)
    held = ray.put(function)
    waiting = list(items)[::-1]
    running: list[Any] = []
    with user_errors():
        while waiting or running:
            while waiting and len(running) < MAX_BESIDE:
                running.append(task.remote(held, waiting.pop()))
            ready, running = ray.wait(running)
            yield from ray.get(ready)


def function_of(function: Callable[[Any], Row], item: Any) -> Row:
    """Return what a function returns: Ray wants a function that it knows, and fetches the one that it is given."""
    return function(item)


MAX_BESIDE = 8
"""Such tasks at one time."""
MAX_RETRIES = 3
"""After a node was lost."""


def to_report(report: Row) -> pa.Table:
    """Return the block that `read_reports` makes a report of."""
    return pa.table({"report": [encode(report)]})


def read_reports(reports: Dataset) -> Iterator[Row]:
    """Yield the column `report` as plain values while the dataset is being computed.

    Raises:
        UserError: as a stage raised it.
    """
    with user_errors():
        for row in reports.iter_rows():
            yield decode(row["report"])
