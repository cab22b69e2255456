"""Column names, record fields and the Arrow schemas of what stages hand to each other.

A record is a mapping with `id`, `target` and the fields of its task. Inside datasets and files `target`,
`prediction` and `sampling_params` are JSON text: Arrow wants one type per column, and this way all tasks share
one schema, one dataset and one engine load. `encode` and `decode` are the only way in and out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

Row = dict[str, Any]
"""One row of a dataset or file as plain Python values, by column."""

Record = Mapping[str, Any]
"""One row of a source: `id`, `target` (a Python value), the task's fields; optional `group` and `metric`."""

Message = dict[str, str]
"""One chat turn: `role` and `content`."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that a source could not read."""

    path: str
    line: int
    """1-based line, or 1-based row number where the format has no lines."""
    reason: str


RECORD_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("metric", pa.string()),
        ("target", pa.string()),
        ("fields", pa.string()),
    ]
)
"""Records on disk, one folder per task and split; `fields` is JSON text with the task's fields."""

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("metric", pa.string()),
        ("target", pa.string()),
        ("messages", MESSAGES),
        ("sampling_params", pa.string()),
        ("error", pa.string()),
    ]
)
"""What the prompt stage makes of every task's records."""

INSTRUCTION_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("messages", MESSAGES),
        ("target", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("language", pa.string()),
        ("route", pa.string()),
        ("teacher", pa.string()),
        ("seed", pa.int64()),
        ("recipe_digest", pa.string()),
    ]
)
"""Instruction rows on disk, one folder per split; `messages` end with the assistant's turn."""

PREDICTION_SCHEMA = pa.schema(
    [
        *PROMPT_SCHEMA,
        ("generated_text", pa.string()),
        ("finish_reason", pa.string()),
        ("num_input_tokens", pa.int64()),
        ("num_generated_tokens", pa.int64()),
        ("prediction", pa.string()),
        ("engine_seconds", pa.float64()),
        ("confidence", pa.float32()),
        ("switch_seconds", pa.float64()),
    ]
)
"""What inference leaves on disk: one row per prompt, failed rows with their `error`.

`confidence` is the geometric mean of the probabilities of the answer's tokens, null unless `infer.confidence` asks.
"""


def encode(value: Any) -> str:
    """Write a target or prediction as JSON text (tuples become lists).

    ASCII only: half of a surrogate pair in a model's answer then survives Arrow, which wants valid UTF-8.
    """
    return json.dumps(value)


def decode(text: str | None) -> Any:
    """Read JSON text written by `encode`; a null column stays None."""
    return None if text is None else json.loads(text)


def is_text(text: str) -> bool:
    """Whether the text can be stored: JSON escapes and undecodable bytes may leave halves of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_id(*parts: str) -> str:
    """Stable row id from the content that defines a row: the first 16 hex digits of a SHA-256."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def bucket_of(value: str, num_buckets: int) -> int:
    """Return the bucket of an id or key: equal values meet in one, and buckets are of about one size."""
    return int(content_id(value), 16) % num_buckets
