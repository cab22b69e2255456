"""A pass of Ray Data over small descriptions of work: each becomes a task, and its reports stream to the driver."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import Dataset

from eshop_ray.inference.dispatch.stage import user_errors
from eshop_ray.schema import decode, encode

Row = dict[str, Any]

ITEMS = pa.schema([("item", pa.string())])


def spread(items: Sequence[Any]) -> Dataset:
    """Return a dataset with one block for each item, as JSON text in the column `item`."""
    tables = [pa.table({"item": [encode(item)]}, schema=ITEMS) for item in items]
    return ray.data.from_arrow(tables)


def map_tasks(function: Callable[[Any], Row | Iterable[Row]], items: Sequence[Any]) -> Iterator[Row]:
    """Yield what a function returns or yields for each item, in any order.

    Raises:
        UserError: as the function raised it, from whichever node.
    """
    if not items:
        return

    def apply(batch: pa.Table) -> Iterator[pa.Table]:
        for text in batch["item"].to_pylist():
            reports = function(decode(text))
            for report in [reports] if isinstance(reports, dict) else reports:
                yield pa.table({"report": [encode(report)]})

    yield from read_reports(spread(items).map_batches(apply, batch_format="pyarrow", batch_size=None))


def read_reports(reports: Dataset) -> Iterator[Row]:
    """Yield the column `report` as plain values while the dataset is being computed.

    Raises:
        UserError: as a stage raised it.
    """
    with user_errors():
        for row in reports.iter_rows():
            yield decode(row["report"])
