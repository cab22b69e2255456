"""What an endpoint's response means: an answer, trouble that passes, a row refused, or the end of the job."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from eshop_ray.inference.engines.openai.chat_request import unwrap
from eshop_ray.inference.openai_api import quotes
from eshop_ray.inference.requests import Answer, Busy, Failure, Reply, mean_probability

FINAL_STATUSES: Mapping[int, str] = {
    401: "the endpoint does not take the key",
    402: "the endpoint wants to be paid first",
    403: "the endpoint does not allow this",
    404: "the endpoint has no such model or address",
}
"""Statuses that every further request would get too -> what they mean."""
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes of a 429 that no waiting mends."""
BUSY_STATUSES = (408, 409, 425, 429)
MAX_PAUSE_SECONDS = 900.0
"""An endpoint that asks to wait longer, as for tomorrow's quota, ends the job."""
MAX_MESSAGE = 200
"""Characters of an endpoint's own words that are passed on."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an endpoint counted."""

    num_read: int
    num_cached: int
    """Of those that were read."""
    num_written: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one try came to."""

    reply: Reply
    usage: Usage | None = None
    """None where nothing was counted."""
    is_charged: bool = False
    """Whether it may be charged though nothing was counted."""
    is_trouble: bool = False
    """Whether the endpoint, and not the row, is in trouble."""
    pause: float = 0.0
    """Seconds for which it asks to be left alone."""
    end: str | None = None
    """Why the job has to end."""


def judge_response(
    status: int, headers: Mapping[str, str], text: str, body: Mapping[str, Any], key: str | None
) -> Verdict:
    """Return what a response means.

    Args:
        status: Of HTTP.
        headers: With names in lower case.
        text: The body.
        body: That of the request.
        key: The secret that no message may hold.
    """
    if status == 200:
        return _judge_completion(text, body)
    error = _read_error(text)
    code = str(error.get("code") or error.get("type") or "")
    said = _clean(str(error.get("message") or ""), body, key)
    if status in FINAL_STATUSES or 300 <= status < 400:
        meaning = FINAL_STATUSES.get(status, "the endpoint is elsewhere, and nothing is sent after it")
        return _end(f"HTTP {status}: {meaning}{said}")
    if status == 429 and code in NO_QUOTA:
        return _end(f"HTTP 429, {code}: the quota of the key is used up{said}")
    if status in BUSY_STATUSES or status >= 500:
        pause = read_pause(headers)
        if pause > MAX_PAUSE_SECONDS:
            return _end(f"HTTP {status}: the endpoint asks to wait for {pause:,.0f} seconds; run the job again then")
        return Verdict(Busy(f"HTTP {status}"), is_trouble=status >= 500, pause=pause)
    if code == "context_length_exceeded" or "context length" in str(error.get("message")).lower():
        return Verdict(Failure("too_long", f"the endpoint's context is too short: HTTP {status}"))
    return Verdict(Failure("engine", f"refused by the endpoint: HTTP {status}{said}"))


def read_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds in `retry-after-ms` or `retry-after`, which may also name a date; 0 where neither says so."""
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        stated = headers.get("retry-after", "0")
        if stated.strip().replace(".", "", 1).isdigit():
            return float(stated)
        return max(parsedate_to_datetime(stated).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _end(reason: str) -> Verdict:
    return Verdict(Failure("stopped", reason), end=reason)


def _judge_completion(text: str, body: Mapping[str, Any]) -> Verdict:
    try:
        response = json.loads(text)
        choice = response["choices"][0]
        message, finish = choice["message"], choice["finish_reason"]
        content = message.get("content")
        usage = _read_usage(response.get("usage"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Verdict(Busy("an unreadable response"), is_charged=True, is_trouble=True)
    if finish not in ("stop", "length") or not isinstance(content, str):
        ended = f"the endpoint ended with `{finish}`" if finish not in ("stop", "length") else "an answer without text"
        return Verdict(Failure("engine", ended), usage, is_charged=usage is None)
    counts = (usage.num_read, usage.num_written) if usage else (0, 0)
    answer = Answer(unwrap(content, body), finish, *counts, _read_confidence(choice))
    return Verdict(answer, usage, is_charged=usage is None)


def _read_confidence(choice: Mapping[str, Any]) -> float | None:
    try:
        return mean_probability(token["logprob"] for token in choice["logprobs"]["content"])
    except (KeyError, TypeError):  # not asked for, or nothing that an endpoint has to know
        return None


def _read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(int(usage["prompt_tokens"]), int(cached), int(usage.get("completion_tokens") or 0))


def _read_error(text: str) -> Mapping[str, Any]:
    """Return `message`, `type` and `code` of a refusal, in either of the forms that servers have for it."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return {}
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _clean(message: str, body: Mapping[str, Any], key: str | None) -> str:
    """Return an endpoint's words to be put behind ours; none where they recite the row, or the key."""
    short = " ".join(message.split())[:MAX_MESSAGE]
    is_telling = short and not quotes(message, body) and not (key and key in message)
    return f" ({short})" if is_telling else ""
