"""Instruction rows that `build_instructions` wrote: Parquet, a folder per split."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.sources.required import require_columns
from eshop_ray.schema import Malformed, Record, Row, decode
from eshop_ray.tasks import list_tasks

_COLUMNS = ("id", "task", "messages", "target")


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:  # noqa: ARG001
    """Yield records of each row's own task: the user's message as `prompt`, the sub-task as the group.

    Raises:
        UserError: if a column is missing from the whole file.
    """
    yield from require_columns(read_rows(stream, path), path, _COLUMNS, _record)


def _record(path: str, number: int, row: Row) -> Record | Malformed:
    prompts = [turn["content"] for turn in row["messages"] or [] if turn["role"] == "user"]
    if len(prompts) != 1:
        return Malformed(path, number, f"{len(prompts)} messages of the user; one is expected")
    if row["task"] not in list_tasks():
        return Malformed(path, number, f"unknown task `{row['task']}`")
    named = {name: row[name] for name in ("group", "metric") if row.get(name) is not None}
    return {
        "id": row["id"],
        "task": row["task"],
        **named,
        "prompt": prompts[0],
        "target": decode(row["target"]),
    }
