"""Rows whose texts have the same words in the same order: of each set the one that counts first stays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from eshop_ray.data.near_duplicates.signing import Job
from eshop_ray.exchange import Exchange
from eshop_ray.schema import Row
from eshop_ray.storage import Storage, StorageError

REMOVED = pa.schema(
    [
        ("number", pa.int64()),
        ("id", pa.string()),
        ("survivor_number", pa.int64()),
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
    ]
)
"""Rows that go: `survivor` is the id of the row that stays in their place, `similarity` that to the nearest row of
those that it hangs together with."""


def judge_equal(job: Job, equal: Exchange, item: Mapping[str, Any]) -> Row:
    """Write which rows of a bucket go, and return how many."""
    rows = equal.read(item["bucket"]).combine_chunks()
    keys = np.rec.fromarrays([rows["first"].to_numpy(), rows["second"].to_numpy()])
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[inverse] > 1)
    sets = pa.array(inverse[repeated], pa.int64())
    sorted_rows = (
        rows.take(repeated)
        .append_column("set", sets)
        .sort_by([("set", "ascending"), ("priority", "ascending"), ("id", "ascending")])
    )
    own = sorted_rows["set"].to_numpy()
    is_first = np.concatenate([[True], own[1:] != own[:-1]])[: len(own)]
    survivors = np.flatnonzero(is_first)[np.cumsum(is_first) - 1][~is_first]
    removed = list_removed(
        sorted_rows.filter(pa.array(~is_first)), sorted_rows.take(survivors), np.ones(len(survivors))
    )
    write_removed(job.storage, item["path"], removed)
    return {"num_removed": len(removed)}


def list_removed(rows: pa.Table, survivors: pa.Table, similarity: np.ndarray) -> pa.Table:
    """Return rows that go beside those that stay in their places, both with `number` and `id`."""
    columns = [rows["number"], rows["id"], survivors["number"], survivors["id"], pa.array(similarity, pa.float64())]
    return pa.table(columns, schema=REMOVED)


def write_removed(storage: Storage, path: str, removed: pa.Table) -> None:
    """Write rows that go."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, REMOVED) as writer:
        writer.write_table(removed)
    storage.write(path, sink.getvalue().to_pybytes())


def read_removed(storage: Storage, path: str) -> pa.Table:
    """Return rows that go.

    Raises:
        StorageError: if the file is gone, or is not as it was written.
    """
    content = storage.read(path)
    try:
        with pa.ipc.open_stream(content or b"") as reader:
            return reader.read_all()
    except pa.ArrowInvalid as error:
        raise StorageError(
            f"{storage.shown}/{path} is gone or damaged; delete {storage.shown} and run again"
        ) from error
