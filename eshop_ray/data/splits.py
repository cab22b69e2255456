"""Reading back the records of one split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
from ray.data import Dataset

from eshop_ray.config import Config
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.ladder import pick_rung
from eshop_ray.errors import UserError
from eshop_ray.places import uri_of
from eshop_ray.schema import RECORD_SCHEMA, Row, content_id, decode
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
    groups: Sequence[str] = (),
) -> Dataset:
    """Return the records of a split, columns of `RECORD_SCHEMA`, the rows of one task together.

    Args:
        records_dir: What `prepare_data` has written.
        split: Name of the split.
        tasks: Tasks to keep; empty keeps all.
        max_rows: Rows of each group of a task to keep, the same ones every time; None keeps all.
        shard: Part of each task's rows to keep, and how many parts there are: `(1, 3)` is the first third.
        groups: Groups to keep; empty keeps all.

    Raises:
        UserError: if there is no such split, or none of its rows belong to the tasks and groups.
    """
    folders = _find_folders(records_dir, split, tasks)
    if max_rows is None and shard is None and not groups:
        files = sorted(str(path) for folder in folders for path in folder.glob("*.parquet"))
        num_rows = sum(pq.read_metadata(file).num_rows for file in files)
        num_blocks = max(1, num_rows // ROWS_PER_BLOCK)
        return _read_files(records_dir, files, num_blocks)
    return ray.data.from_arrow(_take(folders, partial(_pick_few, max_rows=max_rows), shard, groups))


def read_training(config: Config) -> Dataset:
    """Return the records that a model learns from, columns of `RECORD_SCHEMA`, the rows of one task together.

    Those of the split `train`: of the config's tasks, groups and shard, as many of each group as `data.max_train_rows`
    says, drawn by `seed` (`eshop_ray.data.ladder`).

    Raises:
        UserError: as `read_split`.
    """
    data, shard = config.data, config.train.shard
    if data.max_train_rows is None:
        return read_split(config.records_dir, TRAIN, data.tasks, shard=shard, groups=data.groups)
    return ray.data.from_arrow(take_training(config, data.tasks))


def take_training(config: Config, tasks: Sequence[str]) -> list[pa.Table]:
    """Return what `read_training` reads of some tasks, a table each, without Ray.

    Raises:
        UserError: as `read_split`.
    """
    choose = partial(pick_rung, size=config.data.max_train_rows, seed=config.seed)
    folders = _find_folders(config.records_dir, TRAIN, tasks)
    return _take(folders, choose, config.train.shard, config.data.groups)


def list_groups(records_dir: Path, split: str, tasks: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (task, group) of a split's records, sorted, without Ray; a row without a group has the task's name.

    Raises:
        UserError: if there is no such split.
    """
    found = set()
    for folder in _find_folders(records_dir, split, tasks):
        task = folder.parent.name.removeprefix("task=")
        table = pq.read_table(folder, columns=["group"], partitioning=None)
        found |= {(task, group or task) for group in table["group"].unique().to_pylist()}
    return sorted(found)


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
    records_dir: Path,
    split: str,
    tasks: Sequence[str] = (),
    max_rows: int | None = None,
    groups: Sequence[str] = (),
) -> Iterator[tuple[str, str]]:
    """Yield task and id of the records that `read_split` returns, without Ray.

    Raises:
        UserError: as it does.
    """
    choose = partial(_pick_few, max_rows=max_rows)
    for table in _take(_find_folders(records_dir, split, tasks), choose, None, groups, ["id", "task", "group"]):
        yield from zip(table["task"].to_pylist(), table["id"].to_pylist(), strict=True)


def read_tasks(
    records_dir: Path,
    split: str,
    tasks: Sequence[str] = (),
    max_rows: int | None = None,
    groups: Sequence[str] = (),
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each task with the records that `read_split` returns of it, without Ray.

    Raises:
        UserError: as it does.
    """
    choose = partial(_pick_few, max_rows=max_rows)
    for table in _take(_find_folders(records_dir, split, tasks), choose, None, groups):
        yield table["task"][0].as_py(), table


def read_clusters(records_dir: Path, split: str, fields: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return what records belong to, by task and id, without Ray.

    Args:
        records_dir: What `prepare_data` has written.
        split: Name of the split.
        fields: Task or group -> field of its records that names it.

    Raises:
        UserError: if there is no such split, task or group, or a record lacks the field.
    """
    clusters: dict[tuple[str, str], str] = {}
    for name, field in fields.items():
        num_before = len(clusters)
        for row in _read_fields(records_dir, split, name):
            taken = take_field(decode(row["fields"]), field, row["id"], f"evaluate.clusters.{name}")
            clusters[row["task"], row["id"]] = taken
        if len(clusters) == num_before:
            raise UserError(f"`evaluate.clusters.{name}`: no records of split `{split}` are of this task or group")
    return clusters


def take_field(fields: Mapping[str, Any], field: str, row_id: str, setting: str) -> str:
    """Return what a field of a record holds, as a text.

    Args:
        fields: Of the record.
        field: Its name.
        row_id: Of the record.
        setting: Key of the config that names the field.

    Raises:
        UserError: if the record has no such field.
    """
    if field not in fields:
        known = ", ".join(f"`{name}`" for name in fields)
        raise UserError(f"`{setting}`: record {row_id} has no field `{field}`; it has {known}")
    return str(fields[field])


def _read_fields(records_dir: Path, split: str, name: str) -> Iterator[Row]:
    """Yield `id`, `task` and `fields` of the records of a task, or of a group."""
    is_task = (records_dir / f"task={name}").is_dir()
    for folder in sorted(records_dir.glob(f"task={name if is_task else '*'}/split={split}")):
        table = pq.read_table(folder, schema=RECORD_SCHEMA, partitioning=None)
        chosen = table if is_task else table.filter(pc.equal(table["group"], name))
        yield from chosen.select(["id", "task", "fields"]).to_pylist()


def _find_folders(records_dir: Path, split: str, tasks: Sequence[str]) -> list[Path]:
    folders = sorted(records_dir.glob(f"task=*/split={split}"))
    folders = [folder for folder in folders if not tasks or folder.parent.name.removeprefix("task=") in tasks]
    if not folders:
        raise UserError(
            f"{records_dir} has no split `{split}`; there are: {', '.join(list_splits(records_dir)) or 'none'}. "
            f"Run `eshop prepare-data` with the same config, or choose another `evaluate.split`"
        )
    return folders


def _take(
    folders: Sequence[Path],
    choose: Callable[[Sequence[str]], list[int]],
    shard: tuple[int, int] | None,
    groups: Sequence[str],
    columns: list[str] | None = None,
) -> list[pa.Table]:
    """Return each folder's rows of a shard and of some groups: of each group those whose places `choose` gives.

    Of all columns, unless some are named, `id`, `task` and `group` among them.

    Raises:
        UserError: if there is no row of the groups.
    """
    tables = [_take_folder(folder, choose, shard or (1, 1), groups, columns) for folder in folders]
    missing = set(groups) - {group for table in tables for group in _name_groups(table)}
    if missing:
        raise UserError(f"`data.groups`: no record is of a group {', '.join(sorted(missing))}")
    return [table for table in tables if table.num_rows]


def _take_folder(
    folder: Path,
    choose: Callable[[Sequence[str]], list[int]],
    shard: tuple[int, int],
    groups: Sequence[str],
    columns: list[str] | None,
) -> pa.Table:
    part, num_parts = shard
    table = pq.read_table(folder, columns=columns, schema=RECORD_SCHEMA, partitioning=None)
    places: dict[str, list[int]] = {}
    ids = table["id"].to_pylist()
    for place, (row_id, group) in enumerate(zip(ids, _name_groups(table), strict=True)):
        if int(content_id("shard", row_id), 16) % num_parts == part - 1 and (not groups or group in groups):
            places.setdefault(group, []).append(place)
    chosen = [members[number] for members in places.values() for number in choose([ids[place] for place in members])]
    return table.take(pa.array(sorted(chosen), pa.int64()))


def _name_groups(table: pa.Table) -> list[str]:
    return [group or task for group, task in zip(table["group"].to_pylist(), table["task"].to_pylist(), strict=True)]


def _pick_few(ids: Sequence[str], max_rows: int | None) -> list[int]:
    """Return a sample that depends on the rows' ids alone: adding a row moves at most one other."""
    return sorted(range(len(ids)), key=lambda place: content_id(ids[place]))[:max_rows]
