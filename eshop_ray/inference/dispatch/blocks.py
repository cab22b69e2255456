"""Arrow blocks of prompts -> questions, and outcomes -> columns; every other column passes through untouched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa

from eshop_ray.inference.reading import Reading
from eshop_ray.inference.requests import Answer, ApiAnswer, Failure, Outcome, Prompt, Request
from eshop_ray.schema import Message, decode

WritePrompt = Callable[[Sequence[Message]], Prompt]
"""Chat messages -> what the engine reads."""

ChooseWeights = Callable[[str, str | None], str]
"""Task and group of a row -> `Request.weights`."""

ENGINE_SECONDS = pa.field("engine_seconds", pa.float64())
"""A row's share of the time that its block kept the engines busy."""

CONFIDENCE = pa.field("confidence", pa.float32())
"""See `eshop_ray.inference.requests.Answer`."""

SWITCH_SECONDS = pa.field("switch_seconds", pa.float64())
"""See `eshop_ray.inference.requests.Answer`."""

ANSWER_FIELDS = (
    pa.field("generated_text", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("num_input_tokens", pa.int64()),
    pa.field("num_generated_tokens", pa.int64()),
    pa.field("num_attempts", pa.int64()),
    CONFIDENCE,
    SWITCH_SECONDS,
    pa.field("prediction", pa.string()),
    pa.field("error", pa.string()),
)
"""What an engine adds, and the `error` that it fills in. `prediction` is null where answers are not read."""


@dataclass(slots=True)
class BlockRow:
    """One row of a block on its way through the engine."""

    position: int
    """In its block."""
    request: Request | None
    """None: nothing to ask."""
    outcome: Outcome | None = None
    """None: nothing was asked, and whatever `error` the row brought stays."""
    reading: Reading | None = None
    """Of the latest answer; None while it has not been read."""
    num_attempts: int = 0
    num_input_tokens: int = 0
    num_generated_tokens: int = 0

    def add(self, outcome: Outcome) -> None:
        """Put down how a try ended; tokens of all tries add up."""
        self.outcome = outcome
        self.reading = None
        self.num_attempts += 1
        if isinstance(outcome, Answer | ApiAnswer):
            self.num_input_tokens += outcome.num_input_tokens
            self.num_generated_tokens += outcome.num_generated_tokens


class BlockForm(Protocol):
    """How questions stand in the columns of a block, and answers in those that are added."""

    def read_rows(self, block: pa.Table) -> list[BlockRow]:
        """Return the block's rows with what to ask."""

    def add_answers(self, block: pa.Table, rows: Sequence[BlockRow]) -> pa.Table:
        """Return the block with how its rows ended."""


@dataclass(frozen=True, slots=True)
class PromptForm:
    """Chat messages in, text out: the columns of `eshop_ray.inference.engine.Engine`."""

    write_prompt: WritePrompt
    choose_weights: ChooseWeights | None = None
    """For a model that has several; None: it has the same for all rows."""

    def read_rows(self, block: pa.Table) -> list[BlockRow]:
        """Return the block's rows with what to ask."""
        rows = read_rows(block, self.write_prompt)
        if self.choose_weights:
            groups = block["group"].to_pylist() if "group" in block.column_names else [None] * block.num_rows
            for row, task, group in zip(rows, block["task"].to_pylist(), groups, strict=True):
                if row.request:
                    row.request = replace(row.request, weights=self.choose_weights(task, group))
        return rows

    def add_answers(self, block: pa.Table, rows: Sequence[BlockRow]) -> pa.Table:
        """Return the block with the columns of `ANSWER_FIELDS`."""
        return add_answers(block, rows)


def read_rows(block: pa.Table, write_prompt: WritePrompt) -> list[BlockRow]:
    """Return the block's rows with what to ask; a row that failed before, or has no messages, asks nothing."""
    columns = [block[name].to_pylist() for name in ("messages", "sampling_params", "error")]
    return [_read_row(write_prompt, place, *values) for place, values in enumerate(zip(*columns, strict=True))]


def add_answers(block: pa.Table, rows: Sequence[BlockRow]) -> pa.Table:
    """Return the block with the columns of `ANSWER_FIELDS`, in place of those that it may have already."""
    answers = [_to_columns(row, error) for row, error in zip(rows, block["error"].to_pylist(), strict=True)]
    return set_columns(block, ANSWER_FIELDS, answers)


def set_columns(block: pa.Table, fields: Sequence[pa.Field], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return the block with columns in place of those of the same names, or behind the last.

    Args:
        block: Not empty.
        fields: Of the columns.
        rows: Values of one row each, in the order of the fields.
    """
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        column = pa.array(values, field.type)
        index = block.schema.get_field_index(field.name)
        block = block.append_column(field, column) if index < 0 else block.set_column(index, field, column)
    return block


def _read_row(
    write_prompt: WritePrompt, position: int, messages: Any, params: str | None, error: str | None
) -> BlockRow:
    if error is not None or messages is None:
        return BlockRow(position, None)
    try:
        decoded = decode(params)
        _check_params(decoded)
    except (ValueError, TypeError, KeyError) as trouble:
        return BlockRow(position, None, Failure("prompt", f"sampling_params: {type(trouble).__name__}"))
    try:
        return BlockRow(position, Request(write_prompt(messages), decoded))
    except Exception as trouble:  # whatever one row holds, the other rows go on
        return BlockRow(position, None, Failure("tokenize", type(trouble).__name__))


def _check_params(params: Any) -> None:
    if params["max_tokens"] < 1:
        raise ValueError("max_tokens")


def _to_columns(row: BlockRow, error: str | None) -> tuple[str | float | None, ...]:
    """Return the values of `ANSWER_FIELDS`."""
    answer = row.outcome if isinstance(row.outcome, Answer) else None
    failure = row.outcome.error if isinstance(row.outcome, Failure) else error
    return (
        _clean(answer.text) if answer else None,
        answer.finish_reason if answer else None,
        row.num_input_tokens,
        row.num_generated_tokens,
        row.num_attempts,
        answer.confidence if answer else None,
        answer.switch_seconds if answer else None,
        row.reading.prediction if row.reading else None,
        row.reading.error if row.reading else failure,
    )


def _clean(text: str) -> str:
    """Replace what Arrow refuses: half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
