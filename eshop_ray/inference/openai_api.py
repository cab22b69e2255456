"""OpenAI's API, as far as every engine behind it has to know: addresses, old names, and refusals that quote nothing."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eshop_ray.inference.requests import ApiAnswer

CHAT_URL = "/v1/chat/completions"
COMPLETIONS_URL = "/v1/completions"

OLD_CONSTRAINTS = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
"""What vLLM once called the fields of `structured_outputs`. It now passes over them, and the answer would be free."""

SERVER_ERROR = 500

_CHAT_LIMITS, _USUAL_LIMITS = ("max_completion_tokens", "max_tokens"), ("max_tokens",)

PROMPT_FIELDS = ("messages", "prompt", "input")
"""Fields of a request that a model reads first."""
TEXT_FIELDS = (*PROMPT_FIELDS, "documents", "suffix", "query", "queries", "text_1", "text_2")
"""Fields of a request that hold a customer's words."""
LABEL_FIELDS = ("role", "type", "name", "id", "tool_call_id")
"""Fields of a message that do not."""

_BLANKS = re.compile(r"(?:\s|\\[nrt])+")
"""As they are, or as Python writes them."""

MIN_QUOTE = 12
"""Characters in a row in a reason and in a request alike that are a quotation, and no chance."""
MIN_WORD = 4
"""Characters of a shorter text that, found whole in a reason, are one too."""


def find_limit(url: str, body: Mapping[str, Any]) -> Any:
    """Return what a request says of how long an answer may be, as vLLM reads it; None: nothing.

    Only of a chat does it know the newer name, which counts first there; elsewhere it passes over it.
    """
    names = _CHAT_LIMITS if url == CHAT_URL else _USUAL_LIMITS
    return next((body[name] for name in names if body.get(name) is not None), None)


def rename_constraints(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with constraints under the names that vLLM has for them now."""
    old = {field: body[field] for field in OLD_CONSTRAINTS if body.get(field) is not None}
    if not old:
        return dict(body)
    constraint = {OLD_CONSTRAINTS[field]: value for field, value in old.items()}
    kept = {name: value for name, value in body.items() if name not in old}
    return {**kept, "structured_outputs": {**(body.get("structured_outputs") or {}), **constraint}}


def write_error(status: int, message: str, param: str | None = None, code: str | None = None) -> ApiAnswer:
    """Return a refusal.

    Args:
        status: Of HTTP.
        message: For people.
        param: The field that is to blame.
        code: For programs.
    """
    is_ours = status >= SERVER_ERROR
    error = {
        "message": message,
        "type": "server_error" if is_ours else "invalid_request_error",
        "param": param,
        "code": code or ("server_error" if is_ours else "invalid_value"),
    }
    return ApiAnswer(status, json.dumps({"error": error}))


def refuse_url(url: str, served: Iterable[str]) -> ApiAnswer:
    """Return the refusal of a request to an address that is not among the served ones."""
    return write_error(400, f"{url} is not served; there are {', '.join(served)}", "url", "invalid_url")


def refuse_stream() -> ApiAnswer:
    """Return the refusal of a request whose answer is to come piece by piece."""
    return write_error(400, "stream: not in a batch; leave it out", "stream")


def quotes(message: str, body: Mapping[str, Any]) -> bool:
    """Return whether a reason recites what a request says, also with blanks and escapes of its own."""
    said = _squeeze(message)
    pieces = {said[start : start + MIN_QUOTE] for start in range(len(said) - MIN_QUOTE + 1)}
    for text in map(_squeeze, list_texts({name: body.get(name) for name in TEXT_FIELDS})):
        if len(text) < MIN_QUOTE:
            if len(text) >= MIN_WORD and text in said:
                return True
        elif any(text[start : start + MIN_QUOTE] in pieces for start in range(len(text) - MIN_QUOTE + 1)):
            return True
    return False


def _squeeze(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def list_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value but labels."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name not in LABEL_FIELDS:
                yield from list_texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from list_texts(part)
