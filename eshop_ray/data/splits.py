"""Reading back the records of one split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data import Dataset

from eshop_ray.errors import UserError
from eshop_ray.places import uri_of
from eshop_ray.schema import RECORD_SCHEMA, content_id, decode
from eshop_ray.storage import arrow_filesystem

ROWS_PER_BLOCK = 2000
"""A process that tokenises starts in three seconds and does so many rows in one."""


def list_splits(records_dir: Path) -> list[str]:
    """Return the names of the splits that preparation has found."""
    folders = records_dir.glob("task=*/split=*")
    return sorted({folder.name.removeprefix("split=") for folder in folders})


def read_split(
    records_dir: Path,
    split: str,
    tasks: Sequence[str] = (),
    max_rows: int | None = None,
    shard: tuple[int, int] | None = None,
) -> Dataset:
    """Return the records of a split, columns of `RECORD_SCHEMA`, the rows of one task together.

    Args:
        records_dir: What `prepare_data` has written.
        split: Name of the split.
        tasks: Tasks to keep; empty keeps all.
        max_rows: Rows per task to keep, the same ones every time; None keeps all.
        shard: Part of each task's rows to keep, and how many parts there are: `(1, 3)` is the first third.

    Raises:
        UserError: if there is no such split, or none of its rows belong to the tasks.
    """
    folders = _find_folders(records_dir, split, tasks)
    if max_rows is None and shard is None:
        files = sorted(str(path) for folder in folders for path in folder.glob("*.parquet"))
        num_rows = sum(pq.read_metadata(file).num_rows for file in files)
        num_blocks = max(1, num_rows // ROWS_PER_BLOCK)
        return _read_files(records_dir, files, num_blocks)
    return ray.data.from_arrow([_take(folder, max_rows, shard or (1, 1)) for folder in folders])


def _read_files(records_dir: Path, files: Sequence[str], num_blocks: int) -> Dataset:
    """Have tasks read files of the records: on a disk that all nodes see, or in the store that they stand in."""
    uri = uri_of(records_dir)
    if uri is None:
        return ray.data.read_parquet(files, partitioning=None, override_num_blocks=num_blocks)
    system, root = arrow_filesystem(uri)
    paths = [f"{root}/{Path(file).relative_to(records_dir).as_posix()}" for file in files]
    return ray.data.read_parquet(paths, filesystem=system, partitioning=None, override_num_blocks=num_blocks)


def list_split_tasks(records_dir: Path, split: str, tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the tasks that have records in a split, sorted.

    Raises:
        UserError: as `read_split` does.
    """
    return tuple(folder.parent.name.removeprefix("task=") for folder in _find_folders(records_dir, split, tasks))


def list_ids(
    records_dir: Path, split: str, tasks: Sequence[str] = (), max_rows: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield task and id of the records that `read_split` returns, without Ray.

    Raises:
        UserError: as it does.
    """
    for task, table in read_tasks(records_dir, split, tasks, max_rows):
        for row_id in table["id"].to_pylist():
            yield task, row_id


def read_tasks(
    records_dir: Path, split: str, tasks: Sequence[str] = (), max_rows: int | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each task with the records that `read_split` returns of it, without Ray; one task is in memory at a time.

    Raises:
        UserError: as it does.
    """
    for folder in _find_folders(records_dir, split, tasks):
        task = folder.parent.name.removeprefix("task=")
        is_whole = max_rows is None
        yield task, pq.read_table(folder, partitioning=None) if is_whole else _take(folder, max_rows, (1, 1))


def read_clusters(records_dir: Path, split: str, fields: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return what records belong to, by task and id, without Ray.

    Args:
        records_dir: What `prepare_data` has written.
        split: Name of the split.
        fields: Task -> field of its records that names it.

    Raises:
        UserError: if there is no such split or task, or a record lacks the field.
    """
    clusters = {}
    for task, field in fields.items():
        folder = records_dir / f"task={task}" / f"split={split}"
        if not folder.is_dir():
            raise UserError(f"`evaluate.clusters.{task}`: no records of split `{split}` are of this task")
        table = pq.read_table(folder, columns=["id", "fields"], partitioning=None)
        for row_id, text in zip(table["id"].to_pylist(), table["fields"].to_pylist(), strict=True):
            fields_of_row = decode(text)
            if field not in fields_of_row:
                raise UserError(
                    f"`evaluate.clusters.{task}`: record {row_id} has no field `{field}`; it has "
                    f"{', '.join(f'`{name}`' for name in fields_of_row)}"
                )
            clusters[task, row_id] = str(fields_of_row[field])
    return clusters


def _find_folders(records_dir: Path, split: str, tasks: Sequence[str]) -> list[Path]:
    folders = sorted(records_dir.glob(f"task=*/split={split}"))
    folders = [folder for folder in folders if not tasks or folder.parent.name.removeprefix("task=") in tasks]
    if not folders:
        raise UserError(
            f"{records_dir} has no split `{split}`; there are: {', '.join(list_splits(records_dir)) or 'none'}. "
            f"Run `eshop prepare-data` with the same config, or choose another `evaluate.split`"
        )
    return folders


def _take(folder: Path, max_rows: int | None, shard: tuple[int, int]) -> pa.Table:
    """Return a sample that depends on the rows' ids alone: adding a row moves at most one other."""
    part, num_parts = shard
    table = pq.read_table(folder, schema=RECORD_SCHEMA, partitioning=None)
    ids = table["id"].to_pylist()
    numbers = [index for index, name in enumerate(ids) if int(content_id("shard", name), 16) % num_parts == part - 1]
    chosen = sorted(numbers, key=lambda index: content_id(ids[index]))[:max_rows]
    return table.take(sorted(chosen))
