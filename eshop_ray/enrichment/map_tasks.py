"""A pass of Ray Data over small descriptions of work: each becomes a task, and its reports stream to the driver."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
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
