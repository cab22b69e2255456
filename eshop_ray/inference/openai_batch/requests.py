"""Lines of a batch input file -> rows for the engine; a line that asks for nothing we can answer says why."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.body import Body, RefusedError, read_body, read_messages, read_params
from eshop_ray.schema import MESSAGES, encode, is_text

URL = "/v1/chat/completions"

TASK = "chat"
"""What the column `task` holds: these rows are of none of ours."""

DEFAULT_MAX_TOKENS = 256
"""Tokens of an answer where a request does not say, and the command line neither."""

MODEL_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""What a model may recommend for sampling."""

REQUEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("line", pa.int64()),
        ("task", pa.string()),
        ("messages", MESSAGES),
        ("sampling_params", pa.string()),
        ("error", pa.string()),
    ]
)
"""Rows for the engine: `id` is the request's `custom_id` (null: the line has none), `line` its 1-based line."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run answers."""

    served_names: tuple[str, ...]
    """Values of `body.model` that mean the model of this run."""
    defaults: dict[str, Any]
    """Sampling parameters where a request is silent."""


def read_defaults(model_dir: Path | None, max_tokens: int = DEFAULT_MAX_TOKENS) -> dict[str, Any]:
    """Return the sampling parameters where a request is silent: OpenAI's, or what the model recommends, as in vLLM.

    Raises:
        UserError: if `max_tokens` leaves no room for an answer.
    """
    if max_tokens < 1:
        raise UserError(f"--max-tokens {max_tokens}: an answer needs 1 or more")
    defaults: dict[str, Any] = {"temperature": 1.0, "max_tokens": max_tokens}
    try:
        recommended = json.loads((model_dir / "generation_config.json").read_text()) if model_dir else {}
    except (OSError, ValueError):
        recommended = {}
    return defaults | {name: recommended[name] for name in MODEL_DEFAULTS if recommended.get(name) is not None}


def read_request(line: bytes, number: int, rules: Rules) -> dict[str, Any]:
    """Return one row of `REQUEST_SCHEMA`, one without messages and with an `error` (code, colon, reason) if refused."""
    row = {**dict.fromkeys(REQUEST_SCHEMA.names), "line": number, "task": TASK}
    try:
        request = parse_line(line)
        row["id"] = read_custom_id(request)
        body = _read_envelope(request)
        _check_model(body, rules)
        row["sampling_params"] = encode(read_params(body, rules.defaults))
        row["messages"] = read_messages(body)
    except RefusedError as refusal:
        row["error"] = f"{refusal.code}: {refusal}"
    return row


def make_duplicate(line: bytes, number: int) -> dict[str, Any]:
    """Return the row of a line whose `custom_id` an earlier line has."""
    row = {**dict.fromkeys(REQUEST_SCHEMA.names), "line": number, "task": TASK}
    row["error"] = "duplicate_custom_id: an earlier line has this custom_id; only that one is answered"
    return {**row, "id": read_custom_id(parse_line(line))}


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        RefusedError: if it holds none.
    """
    try:
        request = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RefusedError("invalid_json_line", f"not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RefusedError("invalid_json_line", f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError("invalid_json_line", f"not JSON: {type(error).__name__}") from None
    if not isinstance(request, dict):
        raise RefusedError("invalid_json_line", f"a JSON object is needed, not {type(request).__name__}")
    return request


def read_custom_id(request: dict[str, Any]) -> str:
    """Return what the request is known by.

    Raises:
        RefusedError: if it is known by nothing.
    """
    custom_id = request.get("custom_id")
    if custom_id is None:
        raise RefusedError("missing_required_parameter", "custom_id: missing")
    if not isinstance(custom_id, str) or not custom_id or not is_text(custom_id):
        raise RefusedError("invalid_custom_id", "custom_id: needs a text, not empty")
    return custom_id


def digest_custom_id(custom_id: str) -> bytes:
    """Return 16 bytes that stand for a `custom_id`."""
    return hashlib.blake2b(custom_id.encode(), digest_size=16).digest()


def _read_envelope(request: dict[str, Any]) -> Body:
    if request.get("method") != "POST":
        raise RefusedError("invalid_method", "method: only POST is supported")
    if request.get("url") != URL:
        raise RefusedError("invalid_url", f"url: only {URL} is supported")
    return read_body(request.get("body"))


def _check_model(body: Body, rules: Rules) -> None:
    if body.model is not None and body.model not in rules.served_names:
        raise RefusedError("model_not_found", f"body.model: this run answers for {', '.join(rules.served_names)} only")
