"""What all passes of Ray Data share: small items spread over a cluster, bounded streams, and errors of the user."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import Dataset, ExecutionResources

from eshop_ray.errors import UserError
from eshop_ray.schema import decode, encode

STREAM_BYTES = 256 << 20
"""Object store that rows on their way through a long pass may take."""


def map_items(read: Callable[[Any], Iterable[pa.Table]], items: Sequence[Any]) -> Dataset:
    """Return the tables that a function yields for each item, when its turn comes.

    Args:
        read: Runs on any node; a generator, for of a function that returns Ray Data would hide a `UserError`.
        items: Small descriptions, such as a file's name, that JSON can hold; each is one block.
    """

    def read_item(block: pa.Table) -> Iterator[pa.Table]:
        for text in block["item"].to_pylist():
            yield from read(decode(text))

    blocks = [pa.table({"item": pa.array([encode(item)], pa.string())}) for item in items]
    return ray.data.from_arrow(blocks).map_batches(read_item, batch_format="pyarrow", batch_size=None)


def bound_stream(rows: Dataset) -> Dataset:
    """Have a dataset hold no more than `STREAM_BYTES` of rows on their way, and return it."""
    rows.context.execution_options.resource_limits = ExecutionResources(object_store_memory=STREAM_BYTES)
    return rows


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise what the user can mend as a stage raised it, without Ray's trace and advice around it.

    Ray Data logs each error's trace, twice, before it raises it: the raised one is enough.
    """
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except UserError as error:
        text = str(getattr(error, "cause", error))
        raise UserError(text.partition("\nFailed to apply UDF transform")[0]) from None
    finally:
        logger.setLevel(level)
