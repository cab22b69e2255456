"""Reading back the records of one split."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data import Dataset

from eshop_ray.errors import UserError
from eshop_ray.schema import RECORD_SCHEMA, content_id


def list_splits(run_dir: Path) -> list[str]:
    """Return the names of the splits that preparation has found."""
    folders = (run_dir / "records").glob("task=*/split=*")
    return sorted({folder.name.removeprefix("split=") for folder in folders})


def read_split(run_dir: Path, split: str, tasks: Sequence[str] = (), max_rows: int | None = None) -> Dataset:
    """Return the records of a split, columns of `RECORD_SCHEMA`, the rows of one task together.

    Args:
        run_dir: Run directory with `records/`.
        split: Name of the split.
        tasks: Tasks to keep; empty keeps all.
        max_rows: Rows per task to keep, the same ones every time; None keeps all.

    Raises:
        UserError: if there is no such split, or none of its rows belong to the tasks.
    """
    folders = sorted((run_dir / "records").glob(f"task=*/split={split}"))
    folders = [folder for folder in folders if not tasks or folder.parent.name.removeprefix("task=") in tasks]
    if not folders:
        raise UserError(
            f"{run_dir / 'records'} has no split `{split}`; there are: {', '.join(list_splits(run_dir)) or 'none'}. "
            f"Run `python -m jobs.prepare_data` with the same config, or choose another `evaluate.split`"
        )
    if max_rows is None:
        return ray.data.read_parquet([str(folder) for folder in folders], partitioning=None)
    return ray.data.from_arrow([_take(folder, max_rows) for folder in folders])


def _take(folder: Path, max_rows: int) -> pa.Table:
    """Return a sample that depends on the rows' ids alone: adding a row moves at most one other."""
    table = pq.read_table(folder, schema=RECORD_SCHEMA, partitioning=None)
    ids = table["id"].to_pylist()
    chosen = sorted(range(len(ids)), key=lambda index: content_id(ids[index]))[:max_rows]
    return table.take(sorted(chosen))
