"""Answered rows -> lines of a batch output file and of its error file, in OpenAI's form."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

RESULT_SCHEMA = pa.schema([("is_error", pa.bool_()), ("text", pa.string())])
"""One line, without its end, and which of the two files it belongs to."""

CODES = {"too_long": "context_length_exceeded", "prompt": "invalid_prompt", "tokenize": "invalid_prompt"}
"""Code in the error file for the engine stage's reasons; the others (`engine`, `engine_killed`) keep their names."""


def write_results(answers: pa.Table, model: str) -> pa.Table:
    """Return a block of answers as columns of `RESULT_SCHEMA`.

    Args:
        answers: What an engine makes of `REQUEST_SCHEMA`.
        model: Name that answers give as theirs.
    """
    rows = answers.to_pylist()
    texts = [write_answer(row, model) if row["error"] is None else write_error(row) for row in rows]
    return pa.table({"is_error": [row["error"] is not None for row in rows], "text": texts}, schema=RESULT_SCHEMA)


def write_answer(row: Mapping[str, Any], model: str) -> str:
    """Return the line of an answered request."""
    message = {"role": "assistant", "content": row["generated_text"], "refusal": None}
    usage = {
        "prompt_tokens": row["num_input_tokens"],
        "total_tokens": row["num_input_tokens"] + row["num_generated_tokens"],
        "completion_tokens": row["num_generated_tokens"],
    }
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": row["finish_reason"]}],
        "usage": usage,
    }
    response = {"status_code": 200, "request_id": uuid.uuid4().hex, "body": body}
    return _write_line(row, response, None)


def write_error(row: Mapping[str, Any]) -> str:
    """Return the line of a request without an answer; `line` is its place in the input."""
    reason, _, message = row["error"].partition(": ")
    return _write_line(row, None, {"code": CODES.get(reason, reason), "message": message, "line": row["line"]})


def _write_line(row: Mapping[str, Any], response: Any, error: Any) -> str:
    line = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": row["id"], "response": response, "error": error}
    return json.dumps(line, ensure_ascii=False)
