"""Records -> prompts: one schema for every task."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.schema import PROMPT_SCHEMA, decode, encode
from eshop_ray.tasks import Task, get_task

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)


def add_prompts(
    records: "Dataset", temperature: float = 0.0, constrained: bool = True, confidence: bool = False
) -> "Dataset":
    """Turn records into prompts.

    Args:
        records: Columns of `RECORD_SCHEMA`.
        temperature: Sampling temperature; 0 takes the likeliest token.
        constrained: Hold decoding to the task's declared output where it has one.
        confidence: Have answers come with the probabilities of their tokens.

    Returns:
        Columns of `PROMPT_SCHEMA`. A record that yields no prompt keeps its row, with its `error`.
    """

    def build_batch(batch: pa.Table) -> pa.Table:
        rows = [build_prompt(row, temperature, constrained, confidence=confidence) for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)

    return records.map_batches(build_batch, batch_format="pyarrow")


def find_question(messages: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the last turn of the user."""
    return next((str(message["content"]) for message in reversed(messages or ()) if message["role"] == "user"), "")


def build_prompt(
    row: Mapping[str, Any], temperature: float, constrained: bool, task: Task | None = None, confidence: bool = False
) -> dict[str, Any]:
    """Return one row of `PROMPT_SCHEMA` for one row of `RECORD_SCHEMA`.

    Args:
        row: The record.
        temperature: As for `add_prompts`.
        constrained: As for `add_prompts`.
        task: What the row's `task` stands for; None: the task of that name.
        confidence: As for `add_prompts`.
    """
    prompt: dict[str, Any] = {name: row[name] for name in ("id", "task", "group", "metric", "target")}
    try:
        task = task or get_task(row["task"])
        prompt["group"] = row["group"] or task.name
        prompt["metric"] = row["metric"] or task.metric
        record = decode(row["fields"])
        params: dict[str, Any] = {"temperature": temperature, "max_tokens": task.max_tokens}
        output = task.output(record) if constrained else None
        if output is not None:
            params["structured_outputs"] = output
        if confidence:
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
