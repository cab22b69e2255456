"""Requests to OpenAI's API as rows: their bodies stand in a column as JSON, and so do the responses."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from eshop_ray.inference.dispatch.blocks import BlockRow, set_columns
from eshop_ray.inference.openai_api import PROMPT_FIELDS, find_limit
from eshop_ray.inference.requests import ApiAnswer, ApiRequest, Failure

RESPONSE_FIELDS = (
    pa.field("status", pa.int64()),
    pa.field("response", pa.string()),
    pa.field("ignored", pa.list_(pa.string())),
    pa.field("num_input_tokens", pa.int64()),
    pa.field("num_generated_tokens", pa.int64()),
    pa.field("error", pa.string()),
)
"""What is added: HTTP's status, the body as JSON, the fields of the request that had no meaning; where nothing has
answered, `error` says why."""

MAX_TOKENS = 1 << 31
NO_SEED = -1
"""vLLM's word for it."""


class ApiForm:
    """Columns `url`, `body` (JSON), `error` in, those of `RESPONSE_FIELDS` out; what brings an error is not asked."""

    def read_rows(self, block: pa.Table) -> list[BlockRow]:
        """Return the block's rows with what to ask."""
        columns = [block[name].to_pylist() for name in ("url", "body", "error")]
        return [
            BlockRow(position, build_request(url, json.loads(body)) if error is None else None)
            for position, (url, body, error) in enumerate(zip(*columns, strict=True))
        ]

    def add_answers(self, block: pa.Table, rows: Sequence[BlockRow]) -> pa.Table:
        """Return the block with how its requests ended."""
        errors = block["error"].to_pylist()
        return set_columns(block, RESPONSE_FIELDS, [_to_columns(*pair) for pair in zip(rows, errors, strict=True)])


def build_request(url: str, body: Mapping[str, Any]) -> ApiRequest:
    """Return a request, its prompt first: engines are chosen by how their requests begin."""
    first = {name: body[name] for name in PROMPT_FIELDS if name in body}
    seed, limit = body.get("seed"), find_limit(url, body)
    params = {
        "temperature": body.get("temperature"),
        "seed": None if seed == NO_SEED else seed,
        "max_tokens": limit if isinstance(limit, int) and 0 < limit < MAX_TOKENS else 0,
    }
    return ApiRequest(json.dumps({**first, **body}), params, url)


def _to_columns(row: BlockRow, error: str | None) -> tuple[Any, ...]:
    """Return the values of `RESPONSE_FIELDS`."""
    if isinstance(row.outcome, ApiAnswer):
        answer = row.outcome
        tokens = (answer.num_input_tokens, answer.num_generated_tokens)
        return (answer.status, answer.body, list(answer.ignored), *tokens, None)
    return (None, None, [], 0, 0, row.outcome.error if isinstance(row.outcome, Failure) else error)
