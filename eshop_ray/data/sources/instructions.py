"""Instruction rows that `build_instructions` wrote: Parquet, a folder per split."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Json, ValidationError

from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.sources.required import require_columns
from eshop_ray.schema import Malformed, Record, Row
from eshop_ray.tasks import list_tasks

_COLUMNS = ("id", "task", "messages", "target")


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:  # noqa: ARG001
    """Yield records of each row's own task: the user's message as `prompt`, the sub-task as the group.

    Raises:
        UserError: if a column is missing from the whole file.
    """
    yield from require_columns(read_rows(stream, path), path, _COLUMNS, _record)


class _Turn(BaseModel):
    model_config = ConfigDict(strict=True)
    role: str
    content: str


class _Instruction(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str
    task: str
    group: str | None = None
    metric: str | None = None
    messages: list[_Turn]
    target: Json[Any]


def _record(path: str, number: int, row: Row) -> Record | Malformed:
    try:
        found = _Instruction.model_validate(row)
    except ValidationError as error:
        wrong = error.errors()[0]
        return Malformed(path, number, f"`{'.'.join(map(str, wrong['loc']))}`: {wrong['msg']}")
    prompts = [turn.content for turn in found.messages if turn.role == "user"]
    if len(prompts) != 1:
        return Malformed(path, number, f"{len(prompts)} messages of the user; one is expected")
    if found.task not in list_tasks():
        return Malformed(path, number, f"unknown task `{found.task[:60]}`")
    given = found.model_dump(include={"id", "task", "group", "metric", "target"}, exclude_none=True)
    return {**given, "prompt": prompts[0]}
