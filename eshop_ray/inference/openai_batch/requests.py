"""Lines of a batch input file -> requests for the engine; a line that holds none says why."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from eshop_ray.inference.openai_api import PROMPT_FIELDS, find_limit
from eshop_ray.schema import is_text

REQUEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("line", pa.int64()),
        ("url", pa.string()),
        ("body", pa.string()),
        ("error", pa.string()),
    ]
)
"""Rows for the engine: `id` is the request's `custom_id` (null: the line has none), `line` its 1-based line, `body`
JSON."""


MAY_BE_EMPTY = frozenset(
    {
        "tools",
        "logit_bias",
        "stop",
        "stop_token_ids",
        "bad_words",
        "documents",
        "chat_template_kwargs",
        "stream_options",
    }
)
"""Fields of a body for which empty is as good as left out. Clients send them so, and some the server refuses."""


class RefusedError(Exception):
    """A line that is no request."""

    def __init__(self, code: str, message: str) -> None:
        """Say why, as the error file will.

        Args:
            code: For programs.
            message: For people; names fields and never quotes their values.
        """
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run answers."""

    served_names: tuple[str, ...]
    """Values of `body.model` that mean the model of this run, or an adapter of it."""
    max_tokens: int | None = None
    """Of answers to requests that do not say; None: as the server has it."""


def read_request(line: bytes, number: int, rules: Rules) -> dict[str, Any]:
    """Return one row of `REQUEST_SCHEMA`, one without a body and with an `error` (code, colon, reason) if refused."""
    row = {**dict.fromkeys(REQUEST_SCHEMA.names), "line": number}
    try:
        request = parse_line(line)
        row["id"] = read_custom_id(request)
        url, body = _read_envelope(request)
        _check_model(body, rules)
        _check_texts(body)
        row.update(url=url, body=json.dumps(_limit(url, drop_neutral(body), rules)))
    except RefusedError as refusal:
        row["error"] = f"{refusal.code}: {refusal}"
    return row


def make_duplicate(line: bytes, number: int) -> dict[str, Any]:
    """Return the row of a line whose `custom_id` an earlier line has."""
    row = {**dict.fromkeys(REQUEST_SCHEMA.names), "line": number}
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


def _read_envelope(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    method, url, body = request.get("method"), request.get("url"), request.get("body")
    if not isinstance(method, str) or method.upper() != "POST":
        raise RefusedError("invalid_method", "method: only POST is supported")
    if not isinstance(url, str) or not is_text(url):
        raise RefusedError("invalid_url", "url: a text is needed, such as /v1/chat/completions")
    if not isinstance(body, dict):
        raise RefusedError("missing_required_parameter", "body: a JSON object is needed")
    return url, body


def _check_model(body: dict[str, Any], rules: Rules) -> None:
    model = body.get("model")
    if model is not None and model not in rules.served_names:
        raise RefusedError("model_not_found", f"body.model: this run answers for {', '.join(rules.served_names)} only")


def _check_texts(body: dict[str, Any]) -> None:
    if body.get("messages") is not None and not isinstance(body["messages"], list):
        raise RefusedError("invalid_value", "body.messages: a list is needed")
    for name in PROMPT_FIELDS:
        if not is_text(json.dumps(body.get(name), ensure_ascii=False)):
            raise RefusedError("invalid_value", f"body.{name}: not Unicode: half of a surrogate pair")


def drop_neutral(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what is null or empty and says nothing, nor what would then be left alone."""
    kept = {name: value for name, value in body.items() if value is not None and (value or name not in MAY_BE_EMPTY)}
    if "tools" not in kept and kept.get("tool_choice") in ("auto", "none"):
        del kept["tool_choice"]
    if not kept.get("stream"):
        kept.pop("stream_options", None)
    return kept


def _limit(url: str, body: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """Return the body with the run's own limit, if it has none."""
    if rules.max_tokens is None or find_limit(url, body) is not None:
        return body
    return {**body, "max_tokens": rules.max_tokens}
