"""A record -> the model's prediction for it, by the prompt and the parser of bulk inference."""

from collections.abc import Mapping
from typing import Any

from eshop_ray.data.prompts import PromptSettings, build_prompt
from eshop_ray.errors import UserError
from eshop_ray.inference.reading import read_prediction
from eshop_ray.inference.requests import Answer, Failure
from eshop_ray.schema import decode, encode
from eshop_ray.serving.calls import PromptCall
from eshop_ray.serving.errors import CONTEXT_CODE, CONTEXT_HINT, RefusalError
from eshop_ray.tasks import Task, get_task, list_tasks

MAX_RECORDS = 128
"""Records of one request to `:batch`; more of them are for a batch file."""
COLUMNS = ("id", "group", "metric", "target")
"""Of a record beside the fields of its task; an answer depends on none of them."""


def find_task(name: str) -> Task:
    """Return a task by its name.

    Raises:
        RefusalError: if there is none of that name.
    """
    try:
        return get_task(name)
    except UserError:
        known = ", ".join(list_tasks())
        raise RefusalError(404, f"there is no such task; there are {known}", "task_not_found") from None


def list_fields(task: Task) -> list[list[str]]:
    """Return the fields that records of a task may have, a list for each kind of record among its examples."""
    kinds = {tuple(name for name in example if name not in COLUMNS) for example in task.examples}
    return [list(kind) for kind in sorted(kinds)]


def build_call(task: Task, record: Mapping[str, Any], request_id: str, settings: PromptSettings) -> PromptCall:
    """Return the question that a record makes.

    Args:
        task: What is asked.
        record: The task's fields.
        request_id: Names the record in logs.
        settings: How it is asked.

    Raises:
        RefusalError: if it makes none.
    """
    fields = {name: value for name, value in record.items() if name not in COLUMNS}
    row = {"id": request_id, "task": task.name, "group": None, "metric": None, "target": None}
    prompt = build_prompt({**row, "fields": encode(fields)}, settings, task)
    if prompt.get("error"):
        wanted = " or ".join(", ".join(f"`{name}`" for name in kind) for kind in list_fields(task))
        raise RefusalError(
            422, f"the record makes no prompt; `{task.name}` takes records with {wanted}", "invalid_record"
        )
    return PromptCall(prompt["messages"], decode(prompt["sampling_params"]))


def read_answer(task: Task, piece: Answer | Failure) -> dict[str, Any]:
    """Return what a client gets for a record.

    Raises:
        RefusalError: if the record has no answer.
    """
    if isinstance(piece, Failure):
        if piece.reason == "too_long":
            raise RefusalError(400, f"{piece.message}; {CONTEXT_HINT}", CONTEXT_CODE)
        raise RefusalError(422, "the model has no answer to this record", "no_answer")
    reading = read_prediction({"task": task.name, "generated_text": piece.text}, {task.name: task})
    if reading.error:
        raise RefusalError(422, "the model's answer cannot be read", "no_answer")
    return {
        "task": task.name,
        "version": task.version,
        "prediction": decode(reading.prediction),
        "confidence": piece.confidence,
        "finish_reason": piece.finish_reason,
        "usage": {
            "prompt_tokens": piece.num_input_tokens,
            "completion_tokens": piece.num_generated_tokens,
            "total_tokens": piece.num_input_tokens + piece.num_generated_tokens,
        },
    }
