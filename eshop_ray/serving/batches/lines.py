"""Lines of an input file -> requests, and what is wrong with lines that are none."""

import json
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

from pydantic_core import from_json

from eshop_ray.data.prompts import PromptSettings
from eshop_ray.inference.dispatch.api_form import build_request
from eshop_ray.inference.openai_api import CHAT_URL, COMPLETIONS_URL
from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.inference.requests import ApiRequest
from eshop_ray.serving.batches.states import LineError
from eshop_ray.serving.bodies import parse_object
from eshop_ray.serving.calls import ApiCall, Call
from eshop_ray.serving.endpoints import wants_stream
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.task_answers import build_call, find_task
from eshop_ray.tasks import Task, get_task, list_tasks

TASK_PREFIX = "/v1/tasks/"
MAX_ID_CHARACTERS = 512
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_ERRORS = 100
"""That a client is told; a file of another kind has one on every line."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the lines of a batch have to be."""

    endpoint: str
    """The `url` of all of them."""
    models: tuple[str, ...]
    """What their `body.model` may be."""
    max_requests: int
    max_line_bytes: int


@dataclass(frozen=True, slots=True)
class LineRequest(ApiRequest):
    """A request of a batch, with what the model is asked."""

    call: Call

    @property
    def task(self) -> Task | None:
        """The task that it asks; None for OpenAI's own addresses."""
        return get_task(self.url.removeprefix(TASK_PREFIX)) if self.url.startswith(TASK_PREFIX) else None


def list_endpoints() -> list[str]:
    """Return the addresses that a batch may ask."""
    return [CHAT_URL, COMPLETIONS_URL, *(f"{TASK_PREFIX}{name}" for name in list_tasks())]


def read_lines(path: Path, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based number, line) of lines that are not blank; the beginning of one that is longer than it may be."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 2):
            number += 1
            if line.strip():
                yield number, line
            if is_too_long(line, max_bytes):
                _skip_line(file, line, max_bytes)


def is_too_long(line: bytes, max_bytes: int) -> bool:
    """Return whether a line is longer than it may be, by its beginning."""
    return len(line.rstrip(b"\r\n")) > max_bytes


def _skip_line(file: IO[bytes], line: bytes, max_bytes: int) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(max_bytes)


def check_file(path: Path, rules: Rules) -> tuple[int, tuple[LineError, ...]]:
    """Return the requests in a file, and what is wrong with its lines: then none of them is asked."""
    errors: list[LineError] = []
    ids: set[bytes] = set()
    total = 0
    for number, line in read_lines(path, rules.max_line_bytes):
        total += 1
        if total > rules.max_requests:
            message = f"a batch has {rules.max_requests} requests at most"
            return total, (*errors, LineError(code="too_many_requests", message=message))
        try:
            digest = digest_custom_id(read_line(line, rules)[0])
            if digest in ids:
                raise RefusalError(400, "an earlier line has this custom_id", "duplicate_custom_id", "custom_id")
            ids.add(digest)
        except RefusalError as error:
            errors.append(LineError(code=error.code, message=error.message, line=number, param=error.param))
            if len(errors) == MAX_ERRORS:
                break
    if not total:
        errors.append(LineError(code="empty_file", message="the file has no request"))
    return total, tuple(errors)


def read_line(line: bytes, rules: Rules) -> tuple[str, dict[str, Any]]:
    """Return the `custom_id` and the body of a line.

    Raises:
        RefusalError: if it is no request of this batch.
    """
    if is_too_long(line, rules.max_line_bytes):
        raise RefusalError(400, f"the line is longer than {rules.max_line_bytes} bytes", "request_too_large")
    request = _parse(line)
    custom_id, body = request.get("custom_id"), request.get("body")
    if not _is_id(custom_id):
        message = f"has to be a text of 1 to {MAX_ID_CHARACTERS} characters"
        raise RefusalError(400, message, "invalid_custom_id", "custom_id")
    if request.get("method") != "POST":
        raise RefusalError(400, "has to be POST", "invalid_method", "method")
    if request.get("url") != rules.endpoint:
        raise RefusalError(400, "has to be the batch's own `endpoint`", "invalid_url", "url")
    if not isinstance(body, dict):
        raise RefusalError(400, "has to be a JSON object", "invalid_value", "body")
    if not rules.endpoint.startswith(TASK_PREFIX):
        _check_body(body, rules.models)
    return custom_id, body


def find_custom_id(line: bytes) -> str | None:
    """Return the `custom_id` of a line that is no request, or of the beginning of one; None if there is none."""
    try:
        request = from_json(line.removeprefix(BYTE_ORDER_MARK), allow_partial=True)
    except ValueError:
        return None
    custom_id = request.get("custom_id") if isinstance(request, dict) else None
    return custom_id if _is_id(custom_id) else None


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS


def _parse(line: bytes) -> dict[str, Any]:
    try:
        return parse_object(line.removeprefix(BYTE_ORDER_MARK))
    except RefusalError as error:
        code = "invalid_json_line" if error.code == "invalid_json" else error.code
        raise RefusalError(400, error.message.replace("the body", "the line"), code, error.param) from None


def _check_body(body: dict[str, Any], models: Sequence[str]) -> None:
    if body.get("model") not in models:
        raise RefusalError(
            400, f"there is no such model; there is {', '.join(models)}", "model_not_found", "body.model"
        )
    try:
        is_stream = wants_stream(body)
    except RefusalError as error:
        raise RefusalError(400, error.message, error.code, f"body.{error.param}") from None
    if is_stream:
        raise RefusalError(400, "answers of a batch come whole; leave it out", "invalid_value", "body.stream")


def build_line(body: dict[str, Any], rules: Rules, tasks: PromptSettings, request_id: str) -> LineRequest:
    """Return what a line asks.

    Raises:
        RefusalError: if it is a record that makes no prompt, or its task is there no more.
    """
    plain = build_request(rules.endpoint, body)
    if not rules.endpoint.startswith(TASK_PREFIX):
        return LineRequest(plain.prompt, plain.params, plain.url, ApiCall(rules.endpoint, body))
    task = find_task(rules.endpoint.removeprefix(TASK_PREFIX))
    call = build_call(task, body, request_id, tasks)
    return LineRequest(json.dumps(body), call.params, rules.endpoint, call)


def list_rest(path: Path, rules: Rules, done: Set[bytes]) -> Iterator[str]:
    """Yield the `custom_id`s of a file that have no result, by the digests of those that have.

    Lines that are no requests, or not any more by the rules of now, are among them.
    """
    met = set(done)
    for _, line in read_lines(path, rules.max_line_bytes):
        custom_id = find_custom_id(line)
        if custom_id is None or (digest := digest_custom_id(custom_id)) in met:
            continue
        met.add(digest)
        yield custom_id
