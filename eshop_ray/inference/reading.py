"""An answer's text -> the prediction in it: the one place where an answer is parsed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eshop_ray.parsing import drop_thought
from eshop_ray.schema import encode
from eshop_ray.tasks import Task, get_task


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one answer."""

    prediction: str | None
    """JSON text; None where the answer must not stand."""
    error: str | None = None
    """`REASON: message` of an answer that must not stand."""
    retry_params: dict[str, Any] | None = None
    """Sampling parameters with which to ask once more; None: the reading is final."""


Reader = Callable[[Mapping[str, Any]], Reading]
"""Row with an answer -> its reading. Runs once per answer, beside the engine, in Ray workers."""


def read_prediction(row: Mapping[str, Any], tasks: Mapping[str, Task] | None = None) -> Reading:
    """Parse `generated_text` by the row's `task`; an answer that breaks the parser becomes an error.

    A cut-off or unreadable answer is read as it stands: a model's junk is a wrong answer, which the score counts. What
    a model thinks before it answers is no part of the answer, and where it never came to one, nothing is read.

    Args:
        row: `task` and `generated_text`.
        tasks: What the names in `task` stand for; None: tasks of that name.
    """
    try:
        task = get_task(row["task"]) if tasks is None else tasks[row["task"]]
        answer = drop_thought(row["generated_text"])
        if answer is None:
            return Reading(None, "reasoning: the answer ended before its reasoning did")
        return Reading(encode(task.parse(answer)))
    except Exception as error:  # a parser that breaks on one answer must not end the run
        return Reading(None, f"parse: {type(error).__name__}")


def read_text(row: Mapping[str, Any]) -> Reading:
    """Take `generated_text` as it stands, without what the model thought before it answered."""
    answer = drop_thought(row["generated_text"])
    return (
        Reading(None, "reasoning: the answer ended before its reasoning did")
        if answer is None
        else Reading(encode(answer))
    )
