"""Rows that may be alike: those that meet in a band, and those that hang together by such meetings."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eshop_ray.data.near_duplicates.components import flatten, unite
from eshop_ray.data.near_duplicates.signing import Job
from eshop_ray.exchange import Exchange
from eshop_ray.schema import Row
from eshop_ray.storage import Storage, StorageError

DROPPED = "dropped.npy"
BIN_ROWS = 20_000
"""Rows that one task compares; of more that hang together, it holds two such bins at a time."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Which rows are compared by which task."""

    labels: np.ndarray
    """Of each row: the least row that it hangs together with."""
    bins: np.ndarray
    """Of each row, -1 where it meets no other."""
    tasks: list[list[int]]
    """Bins of each task: one, or all those of rows that hang together and are too many for one."""


def write_array(storage: Storage, path: str, values: np.ndarray) -> None:
    """Write an array as a file."""
    sink = io.BytesIO()
    np.save(sink, values)
    storage.write(path, sink.getvalue())


def read_array(storage: Storage, path: str) -> np.ndarray:
    """Return an array from a file.

    Raises:
        StorageError: if the file is gone, or is not as it was written.
    """
    content = storage.read(path)
    try:
        values: np.ndarray = np.load(io.BytesIO(content or b""))
    except (ValueError, EOFError) as error:
        raise StorageError(
            f"{storage.shown}/{path} is gone or damaged; delete {storage.shown} and run again"
        ) from error
    return values


def pair_bucket(job: Job, near: Exchange, item: Mapping[str, Any]) -> Row:
    """Write an edge from the first row of each key to every other one that is not dropped already."""
    is_dropped = read_array(job.storage, DROPPED)
    rows = near.read(item["bucket"])
    keys, numbers = rows["key"].to_numpy(), rows["number"].to_numpy()
    kept = ~is_dropped[numbers]
    keys, numbers = keys[kept], numbers[kept]
    order = np.argsort(keys, kind="stable")
    keys, numbers = keys[order], numbers[order]
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
    leaders = numbers[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
    edges = np.stack([leaders, numbers])[:, ~is_first]
    write_array(job.storage, _path(item["bucket"]), edges)
    return {"num_edges": edges.shape[1]}


def read_edges(job: Job, buckets: Iterable[int]) -> Iterator[np.ndarray]:
    """Yield the edges of each bucket, `[2, edges]`."""
    return (read_array(job.storage, _path(bucket)) for bucket in buckets)


def fill_bins(num_rows: int, edges: Iterable[np.ndarray]) -> Bins:
    """Divide rows that hang together into bins.

    In memory are three numbers a row, whatever their edges: 16 bytes, and the edges of one bucket.
    """
    kind = np.int32 if num_rows < 1 << 31 else np.int64
    labels = np.arange(num_rows, dtype=kind)
    for left, right in edges:
        unite(labels, left, right)
    flatten(labels)
    sizes = np.bincount(labels, minlength=num_rows)
    roots = np.flatnonzero(sizes > 1)
    own = sizes[roots]
    few, many = roots[own <= BIN_ROWS], roots[own > BIN_ROWS]
    bins = np.full(num_rows, -1, np.int32)
    bin_of = np.full(num_rows, -1, np.int32)
    bin_of[few] = np.cumsum(sizes[few]) // BIN_ROWS
    bins = bin_of[labels]
    num_bins = int(bin_of.max(initial=-1)) + 1
    tasks = [[number] for number in range(num_bins)]
    for root in many.tolist():
        rows = np.flatnonzero(labels == root)
        bins[rows] = num_bins + np.arange(len(rows)) // BIN_ROWS
        stop = int(bins[rows[-1]]) + 1
        tasks.append([*range(num_bins, stop)])
        num_bins = stop
    return Bins(labels, bins, tasks)


def _path(bucket: int) -> str:
    return f"edges/{bucket:06d}.npy"
