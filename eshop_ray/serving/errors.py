"""What a request is refused with, in OpenAI's form, and never with the request's own words."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from eshop_ray.inference.openai_api import quotes, write_error
from eshop_ray.inference.requests import ApiAnswer

CONTEXT_CODE = "context_length_exceeded"
CONTEXT_HINT = "the setting `serve.engine_kwargs.max_model_len` of this endpoint says how long it may be"

MODEL_DOWN = "model_unavailable"
"""Code of a refusal where the model, or the replica that was asked, cannot answer."""

SOON_SECONDS = 1.0
"""After which it is worth trying again where nothing tells when there is room."""


class RefusalError(Exception):
    """Ends a request with an error of HTTP."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "server_error",
        param: str | None = None,
        retry_after: float | None = None,
        allow: Collection[str] = (),
    ) -> None:
        """Say what is wrong.

        Args:
            status: Of HTTP.
            message: For people; no word of the request stands in it.
            code: For programs.
            param: The field that is to blame, or its beginning.
            retry_after: Seconds after which the same request may fare better.
            allow: Methods that the address takes, of a request with another.
        """
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after, self.allow = retry_after, allow


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response: JSON, and its headers."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    """Of an error."""


def render_refusal(error: RefusalError) -> Reply:
    """Return the response of a refusal."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.allow:
        headers["Allow"] = ", ".join(sorted(error.allow))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    answer = write_error(error.status, error.message, error.param, error.code)
    return Reply(error.status, answer.body.encode(), headers, error.code)


def render_answer(answer: ApiAnswer, body: Mapping[str, Any]) -> Reply:
    """Return the response of what the model's server says: trouble of its own is nothing that a client can mend.

    Args:
        answer: What it says.
        body: Of the request; a reason that recites anything in it, a pattern say, is not passed on.
    """
    if answer.status < 400:
        return Reply(answer.status, answer.body.encode())
    error = json.loads(answer.body)["error"]
    if answer.status == 429 or answer.status >= 500:
        return render_refusal(busy_model())
    message, param = error["message"], error["param"]
    if quotes(f"{message} {param}", {"input": {name: part for name, part in body.items() if name != "model"}}):
        message, param = "the model's server refuses it, for a reason that recites the request", None
    if error["code"] == CONTEXT_CODE:
        message = f"{message.rstrip('.')}; {CONTEXT_HINT}"
    return render_refusal(RefusalError(answer.status, message, error["code"], param))


def busy_model() -> RefusalError:
    """Return the refusal where the model cannot answer now, and may later."""
    return RefusalError(503, "the model cannot answer now; try again", MODEL_DOWN, retry_after=SOON_SECONDS)


def time_is_up(seconds: float) -> RefusalError:
    """Return the refusal of a request whose time is up."""
    message = f"no answer within {seconds:g} seconds (`serve.request_seconds`)"
    return RefusalError(503, message, "timeout", retry_after=SOON_SECONDS)


def reply_json(content: Any) -> Reply:
    """Return a response with JSON."""
    return Reply(200, json.dumps(content, allow_nan=False).encode())
