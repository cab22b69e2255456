"""Records -> prompts: one schema for every task."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.config import InferSection
from eshop_ray.schema import PROMPT_SCHEMA, decode, encode
from eshop_ray.tasks import Task, get_task

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How tasks are asked, in batches, nightly runs and at the endpoint alike."""

    temperature: float = 0.0
    """Of sampling; 0 takes the likeliest token."""
    constrained: bool = True
    """Whether decoding is held to the task's declared output, where it has one."""
    confidence: bool = False
    """Whether answers come with the probabilities of their tokens."""

    @classmethod
    def of(cls, infer: InferSection) -> "PromptSettings":
        """Return those of a config."""
        return cls(infer.temperature, infer.constrained, infer.confidence)


ASK_PLAINLY = PromptSettings()


def add_prompts(records: "Dataset", settings: PromptSettings = ASK_PLAINLY) -> "Dataset":
    """Turn records into prompts.

    Args:
        records: Columns of `RECORD_SCHEMA`.
        settings: How they are asked.

    Returns:
        Columns of `PROMPT_SCHEMA`. A record that yields no prompt keeps its row, with its `error`.
    """

    def build_batch(batch: pa.Table) -> pa.Table:
        rows = [build_prompt(row, settings) for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)

    return records.map_batches(build_batch, batch_format="pyarrow")


def find_question(messages: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the last turn of the user."""
    return next((str(message["content"]) for message in reversed(messages or ()) if message["role"] == "user"), "")


def build_prompt(
    row: Mapping[str, Any], settings: PromptSettings = ASK_PLAINLY, task: Task | None = None
) -> dict[str, Any]:
    """Return one row of `PROMPT_SCHEMA` for one row of `RECORD_SCHEMA`.

    Args:
        row: The record.
        settings: How it is asked.
        task: What the row's `task` stands for; None: the task of that name.
    """
    prompt: dict[str, Any] = {name: row[name] for name in ("id", "task", "group", "metric", "target")}
    try:
        task = task or get_task(row["task"])
        prompt["group"] = row["group"] or task.name
        prompt["metric"] = row["metric"] or task.metric
        record = decode(row["fields"])
        params: dict[str, Any] = {"temperature": settings.temperature, "max_tokens": task.max_tokens}
        output = task.output(record) if settings.constrained else None
        if output is not None:
            params["structured_outputs"] = output
        if settings.confidence:
            params["logprobs"] = 0  # in vLLM's words: of the chosen token only
        messages = task.build_messages(record)
        for message in messages:
            message["content"].encode()  # half of a character, which Arrow refuses, costs this row, not its batch
        prompt["messages"] = messages
        prompt["sampling_params"] = encode(params)
    except Exception as error:  # whatever a record does to its task, the other rows go on
        logger.warning("row %s: no prompt: %s", row["id"], type(error).__name__)
        prompt["error"] = f"prompt: {type(error).__name__}: {error}"
    return prompt
