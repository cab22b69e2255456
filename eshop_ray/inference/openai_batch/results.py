"""Answered requests -> lines of a batch output file and of its error file, in OpenAI's form."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eshop_ray.inference.openai_api import SERVER_ERROR, write_error

RESULT_SCHEMA = pa.schema(
    [("is_error", pa.bool_()), ("text", pa.string()), ("ignored", pa.list_(pa.string())), ("num_tokens", pa.int64())]
)
"""One line, without its end, which of the two files it belongs to, fields of its request that meant nothing, and the
tokens read and written for it."""

STATUSES = {"model_not_found": 404, "engine": SERVER_ERROR, "engine_killed": SERVER_ERROR}
"""Code -> HTTP status of a request that no server has seen; 400 for the others."""

FIRST_ERROR = 400


def write_results(answers: pa.Table) -> pa.Table:
    """Return a block of answers as columns of `RESULT_SCHEMA`.

    Args:
        answers: What an engine makes of `REQUEST_SCHEMA`.
    """
    rows = [_settle(row) for row in answers.to_pylist()]
    columns = {
        "is_error": [row["status"] >= FIRST_ERROR for row in rows],
        "text": [write_line(row) for row in rows],
        "ignored": [row["ignored"] for row in rows],
        "num_tokens": [(row["num_input_tokens"] or 0) + (row["num_generated_tokens"] or 0) for row in rows],
    }
    return pa.table(columns, schema=RESULT_SCHEMA)


def write_line(row: Mapping[str, Any]) -> str:
    """Return the line of a request: its response, and `line`, its place in the input, if that is an error."""
    line = describe_result(row["id"], row["status"], json.loads(row["response"]))
    is_error = row["status"] >= FIRST_ERROR
    return json.dumps({**line, "line": row["line"]} if is_error else line)  # some readers end lines at U+2028 too


def describe_result(custom_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return a response in OpenAI's form.

    Args:
        custom_id: Of its request.
        status: Of HTTP.
        body: Of the response.
    """
    if "id" in body:  # requests that are alike share an answer; its name is of one only
        body = {**body, "id": f"{body['id'].partition('-')[0]}-{uuid.uuid4().hex}"}
    return {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": uuid.uuid4().hex, "body": body},
        "error": None,
    }


def _settle(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what the server would have said, where it has not been asked, or has not answered."""
    if row["error"] is None:
        return row
    code, _, message = row["error"].partition(": ")
    where, separator, _ = message.partition(": ")
    param = where.removeprefix("body.") if separator and where.startswith("body.") else None
    refusal = write_error(STATUSES.get(code, FIRST_ERROR), message, param, code)
    return {**row, "status": refusal.status, "response": refusal.body}
