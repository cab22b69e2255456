"""Chat messages -> token ids, the same ids in training and in inference."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.models import load_tokenizer
from eshop_ray.schema import Message, decode
from eshop_ray.tasks import get_task

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

TOKEN_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("answer_ids", pa.list_(pa.int32())),
        ("error", pa.string()),
    ]
)
"""A row to learn from: the prompt with the assistant's header, then the answer with its end token."""


def tokenize_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the ids of the messages and the header of the assistant's turn."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return _encode(tokenizer, text)


def tokenize_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> list[int]:
    """Return the ids of the assistant's turn, from its first word to its end token.

    The turn is cut out of the chat template's own text, so whatever the template puts around an answer is learned
    as the engine will expect it.

    Raises:
        ValueError: if the template changes the turns before an answer, so that no prefix of the text is the prompt.
    """
    prompt = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    turns = [*messages, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    if not text.startswith(prompt):
        raise ValueError("the chat template does not extend the prompt by the answer")
    ids = _encode(tokenizer, text[len(prompt) :])
    end = tokenizer.eos_token_id
    return ids[: ids.index(end) + 1] if end in ids else [*ids, end]


def add_tokens(prompts: "Dataset", model_dir: Path) -> "Dataset":
    """Turn prompts with their targets into rows to learn from.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`.
        model_dir: Folder whose tokenizer and chat template apply.

    Returns:
        Columns of `TOKEN_SCHEMA`; a row that cannot be tokenised keeps its place, with its `error`.
    """

    def tokenize_batch(batch: pa.Table) -> pa.Table:
        rows = [_tokenize_row(row, model_dir) for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=TOKEN_SCHEMA)

    return prompts.map_batches(tokenize_batch, batch_format="pyarrow")


def _tokenize_row(row: Mapping[str, Any], model_dir: Path) -> dict[str, Any]:
    tokens = {"id": row["id"], "task": row["task"], "error": row["error"]}
    if row["error"]:
        return tokens
    tokenizer = load_tokenizer(model_dir)
    try:
        answer = get_task(row["task"]).format_target(decode(row["target"]))
        tokens["prompt_ids"] = tokenize_prompt(tokenizer, row["messages"])
        tokens["answer_ids"] = tokenize_answer(tokenizer, row["messages"], answer)
    except Exception as error:  # whatever one row holds, the other rows go on
        logger.warning("row %s: not tokenised: %s", row["id"], type(error).__name__)
        tokens["error"] = f"tokenize: {type(error).__name__}: {error}"
    return tokens


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
