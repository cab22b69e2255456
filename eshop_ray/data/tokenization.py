"""Chat messages -> token ids, the same ids in training and in inference."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from eshop_ray.artifacts import AnyFolder
from eshop_ray.data.chat_template import MARKS, render_answer, render_prompt
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
        ("group", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("answer_ids", pa.list_(pa.int32())),
        ("num_cut", pa.int32()),
        ("error", pa.string()),
    ]
)
"""A row to learn from: the prompt with the assistant's header, then the answer with its end token. The row's own text
within the prompt has lost its first `num_cut` tokens."""

TOO_LONG = "too_long"
"""How the `error` of a row begins that does not fit, whatever its own text loses."""
UNANSWERED = "unanswered"
"""How the `error` of a row begins that would be learned from another model's answer, and has none."""


def tokenize_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the ids of what a conversation has before the answer to these messages."""
    return _encode(tokenizer, render_prompt(tokenizer, messages))


def tokenize_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> list[int]:
    """Return the ids of the assistant's turn, from its first word to its end token.

    The turn is cut out of the chat template's own text, so whatever the template puts behind an answer is learned as
    the engine will expect it.

    Raises:
        ValueError: if no prefix of the text is the prompt.
    """
    ids = _encode_further(tokenizer, render_answer(tokenizer, messages, answer))
    end = tokenizer.eos_token_id
    return ids[: ids.index(end) + 1] if end in ids else [*ids, end]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the row's own text stands in a prompt: `ids[start:end]`; what comes before and after belongs to all."""

    start: int
    end: int
    cuts: Sequence[int]
    """Places up to which the text may be cut: where a character begins, and the end."""

    def find_cut(self, num_over: int) -> int | None:
        """Return how many of its first tokens go for at least `num_over` to go, or None if nothing would be left."""
        for place in self.cuts:
            if num_over <= place - self.start < self.end - self.start:
                return place - self.start
        return None


def find_own_text(tokenizer: Any, messages: Sequence[Message], ids: Sequence[int]) -> Span:
    """Find the content of the last user message among the ids of a prompt.

    The prompt is compared with the one of another content: what both begin and end with is not the row's own. So a
    template may alter the content. A token that spans both sides stays with the template's.
    """
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        return Span(len(ids), len(ids), ())
    text = render_prompt(tokenizer, messages)
    content = messages[last]["content"]
    ends = content.strip()[:1] + content.strip()[-1:]
    other = next(mark for mark in MARKS if mark not in ends)
    turns = [*messages[:last], {**messages[last], "content": other}, *messages[last + 1 :]]
    start, end = _compare(text, render_prompt(tokenizer, turns))
    if not tokenizer.is_fast:
        num_head = _count_shared(ids, _encode(tokenizer, text[:start]))
        num_tail = _count_shared(ids[::-1], _encode(tokenizer, text[end:])[::-1])
        own = range(num_head, max(num_head, len(ids) - num_tail) + 1)
        return Span(own.start, own.stop - 1, own)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    first = sum(token_start < start for token_start, _ in offsets)
    stop = max(first, sum(token_end <= end for _, token_end in offsets))
    cuts = [index for index in range(first, stop) if index == first or offsets[index][0] >= offsets[index - 1][1]]
    return Span(first, stop, cuts)


def add_tokens(prompts: "Dataset", model_dir: AnyFolder, max_row_length: int) -> "Dataset":
    """Turn prompts with their targets into rows to learn from.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`; where there is a column `answer`, its text is learned, not the target.
        model_dir: Folder whose tokenizer and chat template apply.
        max_row_length: Tokens of a row at most; a longer one loses the beginning of its own text, so that the
            instruction, the template and the answer stay whole.

    Returns:
        Columns of `TOKEN_SCHEMA`; a row that cannot be tokenised keeps its place, with its `error`.
    """

    def tokenize_batch(batch: pa.Table) -> pa.Table:
        rows = [tokenize_row(row, model_dir, max_row_length) for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=TOKEN_SCHEMA)

    return prompts.map_batches(tokenize_batch, batch_format="pyarrow")


def tokenize_row(row: Mapping[str, Any], model_dir: AnyFolder, max_row_length: int) -> dict[str, Any]:
    """Return one row of `TOKEN_SCHEMA` for one row of `PROMPT_SCHEMA`."""
    tokens = {name: row.get(name) for name in ("id", "task", "group", "error")}
    if row["error"]:
        return tokens
    tokenizer = load_tokenizer(model_dir)
    try:
        answer = row.get("answer") or get_task(row["task"]).format_target(decode(row["target"]))
        prompt_ids = tokenize_prompt(tokenizer, row["messages"])
        answer_ids = tokenize_answer(tokenizer, row["messages"], answer)
        own = find_own_text(tokenizer, row["messages"], prompt_ids)
    except Exception as error:  # whatever one row holds, the other rows go on
        logger.warning("row %s: not tokenised: %s", row["id"], type(error).__name__)
        return {**tokens, "error": f"tokenize: {type(error).__name__}: {error}"}
    length = len(prompt_ids) + len(answer_ids)
    num_cut = own.find_cut(length - max_row_length) if length > max_row_length else 0
    if num_cut is None:
        num_least = length - (own.end - own.start)
        return {
            **tokens,
            "error": f"{TOO_LONG}: {length} tokens, {num_least} without its own text; max_row_length is "
            f"{max_row_length}",
        }
    del prompt_ids[own.start : own.start + num_cut]
    return {**tokens, "prompt_ids": prompt_ids, "answer_ids": answer_ids, "num_cut": num_cut}


def _compare(text: str, other: str) -> tuple[int, int]:
    """Return where the part of a text lies that another text, of the same beginning and end, has not."""
    start = len(commonprefix([text, other]))  # noqa: RUF071 - these are texts, not paths
    num_tail = len(commonprefix([text[start:][::-1], other[start:][::-1]]))  # noqa: RUF071
    return start, len(text) - num_tail


def _count_shared(ids: Sequence[int], others: Sequence[int]) -> int:
    return next((index for index, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1]), len(others))


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _encode_further(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text that goes on from another: tokenizers of SentencePiece's kind put a blank before a text
    that begins, which no engine would generate, and no constraint allow.
    """
    if not _adds_blank(tokenizer):
        return _encode(tokenizer, text)
    head, ids = _encode(tokenizer, _LINE_END), _encode(tokenizer, f"{_LINE_END}{text}")
    return ids[len(head) :] if ids[: len(head)] == head else _encode(tokenizer, text)


_LINE_END = "\n"


@functools.lru_cache(maxsize=4)
def _adds_blank(tokenizer: Any) -> bool:
    return bool(tokenizer.convert_ids_to_tokens(_encode(tokenizer, "a"))[0].startswith("\u2581"))
