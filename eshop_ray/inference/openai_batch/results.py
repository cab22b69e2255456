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


SERVER_ERROR = 500
STATUSES = {"model_not_found": 404, "engine": SERVER_ERROR, "engine_killed": SERVER_ERROR}
"""Code -> HTTP status of the answer that a server would have given; 400 for the others."""


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
    return _write_line(row, response)


def write_error(row: Mapping[str, Any]) -> str:
    """Return the line of a request without an answer: what the server would have said, and `line`, its place in the
    input.
    """
    reason, _, message = row["error"].partition(": ")
    code = CODES.get(reason, reason)
    status = STATUSES.get(code, 400)
    where, separator, _ = message.partition(": ")
    error = {
        "message": message,
        "type": "invalid_request_error" if status < SERVER_ERROR else "server_error",
        "param": where.removeprefix("body.") if separator and where.startswith("body.") else None,
        "code": code,
    }
    response = {"status_code": status, "request_id": uuid.uuid4().hex, "body": {"error": error}}
    return _write_line(row, response, line=row["line"])


def _write_line(row: Mapping[str, Any], response: Any, **more: Any) -> str:
    line = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": row["id"], "response": response, "error": None, **more}
    return json.dumps(line, ensure_ascii=False)
