"""What the gateway asks of the model, and what comes back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from eshop_ray.inference.openai_api import COMPLETIONS_URL, find_limit
from eshop_ray.inference.requests import Answer, ApiAnswer, Failure
from eshop_ray.schema import Message
from eshop_ray.serving.errors import RefusalError

MAX_ANSWERS = 128
"""Answers to one request: prompts times `n`."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request to OpenAI's API."""

    url: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptCall:
    """A question of a task: it goes to the model as it does in bulk inference, token for token."""

    messages: list[Message]
    params: dict[str, Any]
    """Sampling parameters."""


Call = ApiCall | PromptCall


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the gateway has to know of the model."""

    context: int
    """Tokens of a prompt and its answer together, at most."""


Piece = ApiAnswer | Answer | Failure | list[str]
"""A whole answer, or events of a stream as they come: text `data: JSON` with two line ends each."""


class Model(Protocol):
    """The deployment behind the gateway.

    Raises:
        RefusalError: from each of these, if it cannot be asked now.
    """

    async def describe(self) -> ModelFacts:
        """Say what it is; this waits until it is up."""

    async def measure(self, call: Call) -> int | None:
        """Return the tokens of a call's prompts; None where they cannot be told."""

    def ask(self, call: Call, request_id: str) -> AsyncIterator[Piece]:
        """Yield what it answers; when the iterator is closed, it stops to generate."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a call can come to at most."""

    num_prompts: int
    num_answers: int
    """For each prompt."""
    max_tokens: int | None
    """Of each answer; None: as many as the context holds."""

    def count_most(self, context: int) -> int:
        """Return the most tokens that it can cost: a prompt and an answer fit into the context together."""
        longest = context if self.max_tokens is None else min(self.max_tokens, context)
        return self.num_prompts * (context - longest + self.num_answers * longest)

    def count_most_after(self, num_prompt_tokens: int, context: int) -> int:
        """Return the most tokens that it can cost with prompts of a known length, in all."""
        longest = context if self.max_tokens is None else min(self.max_tokens, context)
        if self.num_prompts == 1:
            longest = min(longest, max(context - num_prompt_tokens, 0))
        return num_prompt_tokens + self.num_prompts * self.num_answers * longest


def measure_size(call: Call) -> Size:
    """Return how much a call can come to.

    Raises:
        RefusalError: if it asks for no number of answers or tokens, or for too many.
    """
    if isinstance(call, PromptCall):
        return Size(1, 1, int(call.params["max_tokens"]))
    limit = find_limit(call.url, call.body)
    if limit is not None and not _is_count(limit):
        raise RefusalError(400, "has to be a whole number from 1", "invalid_value", "max_tokens")
    num_answers = call.body.get("n")
    if num_answers is not None and not _is_count(num_answers):
        raise RefusalError(400, "has to be a whole number from 1", "invalid_value", "n")
    num_prompts = count_prompts(call)
    if num_prompts * (num_answers or 1) > MAX_ANSWERS:
        raise RefusalError(400, f"more than {MAX_ANSWERS} answers to one request", "invalid_value", "n")
    if limit is None and call.url == COMPLETIONS_URL:
        limit = DEFAULT_COMPLETION_TOKENS
    return Size(num_prompts, num_answers or 1, limit)


DEFAULT_COMPLETION_TOKENS = 16
"""Of a completion that does not say how long it may be: OpenAI's default, and vLLM's."""


def count_prompts(call: ApiCall) -> int:
    """Return how many prompts a request has: texts or lists of tokens, and, for engines that take them, embeddings."""
    if call.url != COMPLETIONS_URL:
        return 1
    return max(1, sum(map(_count_parts, (call.body.get("prompt"), call.body.get("prompt_embeds")))))


def _count_parts(value: Any) -> int:
    is_one = not isinstance(value, list) or (bool(value) and isinstance(value[0], int))
    return int(value is not None) if is_one else len(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
