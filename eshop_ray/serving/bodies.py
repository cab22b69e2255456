"""Bodies of requests: how much is read, and what of JSON no engine could be handed."""

import math
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json
from starlette.types import Receive, Scope

from eshop_ray.serving.errors import RefusalError

JSON_TYPE = "application/json"
MAX_INTEGER = 2**63
"""Engines are sent numbers of 64 bits."""
MAX_FIELD_CHARACTERS = 80


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def read_object(scope: Scope, receive: Receive, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object that a request brings.

    Raises:
        RefusalError: if it brings none, or more than so many bytes: what comes after them is never read.
        ClientGoneError: if the client leaves before it is there.
    """
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise RefusalError(415, f"the body has to be JSON, with `Content-Type: {JSON_TYPE}`", "invalid_content_type")
    too_large = RefusalError(413, f"the body is longer than {max_bytes} bytes", "request_too_large")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return parse_object(bytes(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        RefusalError: if it is none, or has a value that JSON or an engine cannot hold: halves of characters, numbers
            beyond 64 bits or not finite, nesting of more than some hundred levels.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:  # it says what and where, without a word of the body
        raise RefusalError(400, f"the body is no JSON: {error}", "invalid_json") from None
    if not isinstance(value, dict):
        raise RefusalError(400, "the body has to be a JSON object", "invalid_json")
    for name, part in value.items():
        if any(is_beyond(number) for number in list_numbers(part)):
            field = name[:MAX_FIELD_CHARACTERS]
            raise RefusalError(400, "a number is beyond 64 bits, or not finite", "invalid_value", field)
    return value


def is_beyond(number: float) -> bool:
    """Return whether a number is none that an engine can be sent."""
    if isinstance(number, float):
        return not math.isfinite(number)
    return not -MAX_INTEGER <= number < MAX_INTEGER


def list_numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in a JSON value, in no order; prompts that are lists of tokens have thousands."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, int | float):
            yield part
        elif isinstance(part, dict):
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
