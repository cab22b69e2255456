"""What an answer has cost, counted while it goes by; streams are counted event by event, for clients may leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from eshop_ray.serving.errors import RefusalError, busy_model, render_refusal

EVENT_START, EVENT_END = "data: ", "\n\n"
LAST_EVENT = "[DONE]"
UNSEEN_TOKENS = 64
"""Of each answer in a stream that is broken off: as many may have been generated after the last event that was seen."""


@dataclass(slots=True)
class Cost:
    """Tokens of one request so far."""

    num_read: int = 0
    num_written: int = 0
    is_final: bool = False
    """Whether nothing more can come."""
    num_answers: int = 1
    """To each prompt."""
    _read: dict[int, int] = field(default_factory=dict)
    """Prompt -> its tokens, as far as an event of a stream was about it."""
    _written: dict[int, int] = field(default_factory=dict)
    """Answer -> its tokens so far."""

    def add_usage(self, usage: Mapping[str, Any]) -> None:
        """Take over the count of a whole answer, or of several together."""
        self.num_read += usage.get("prompt_tokens") or 0
        self.num_written += usage.get("completion_tokens") or 0
        self.is_final = True

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take over the count in an event of a stream."""
        usage, choices = event.get("usage"), event.get("choices")
        if not usage:
            return
        if not choices:  # the last one has the sum
            self.num_read, self.num_written = usage["prompt_tokens"], usage.get("completion_tokens") or 0
            self.is_final = True
            return
        for choice in choices:  # what is counted is that of their prompt alone
            self._read[choice["index"] // self.num_answers] = usage["prompt_tokens"]
            self._written[choice["index"]] = usage.get("completion_tokens") or 0
        self.num_read, self.num_written = sum(self._read.values()), sum(self._written.values())

    def estimate(self, num_prompts: int, most: int) -> int:
        """Return what to charge: what was counted, or, of a request that was broken off, the most it may have come to.

        Args:
            num_prompts: That it has. Of one that no event was about, nobody knows the length.
            most: That it can cost.
        """
        counted = self.num_read + self.num_written
        if self.is_final:
            return counted
        if len(self._read) < num_prompts:
            return most
        return min(most, counted + UNSEEN_TOKENS * num_prompts * self.num_answers)


def count_always(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request for a stream that tells in each event what was generated so far."""
    options = body.get("stream_options") or {}
    return {**body, "stream_options": {**options, "include_usage": True, "continuous_usage_stats": True}}


@dataclass(slots=True)
class StreamFilter:
    """Hands events on to a client as it asked for them, and counts what they cost."""

    cost: Cost
    wants_usage: bool
    """Whether the client asked for an event with the sum at the end."""
    wants_usage_always: bool
    """Whether it asked for the count in each event."""

    @classmethod
    def of(cls, body: Mapping[str, Any], cost: Cost) -> "StreamFilter":
        """Return what a request asks for."""
        options = body.get("stream_options") or {}
        wants_usage = bool(options.get("include_usage"))
        return cls(cost, wants_usage, wants_usage and bool(options.get("continuous_usage_stats")))

    def rewrite(self, event: str) -> str:
        """Return an event for the client; empty: it gets none.

        Raises:
            RefusalError: if it says that the model is in trouble, in words that may quote the request.
        """
        data = event.strip().removeprefix(EVENT_START)
        if data == LAST_EVENT:
            return event
        content = from_json(data)
        if "error" in content:
            raise busy_model()
        self.cost.follow(content)
        is_sum = not content.get("choices")
        if is_sum and not self.wants_usage:
            return ""
        if not is_sum and not self.wants_usage_always:
            content.pop("usage", None)
        return write_event(to_json(content, ensure_ascii=True).decode())  # some readers end lines at U+2028 too


def write_event(data: str) -> str:
    """Return an event of a stream."""
    return f"{EVENT_START}{data}{EVENT_END}"


def write_refusal(error: RefusalError) -> str:
    """Return the last event of a stream that ends in trouble."""
    return write_event(render_refusal(error).body.decode())
