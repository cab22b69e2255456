"""What goes to an engine and what comes back, row by row."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

STOPPED = "stopped: "
"""How the `error` of a row begins that was not asked because the job is about to end: it is as if it had not come."""

MAX_FAILURE_CHARACTERS = 200
"""Characters of a failure's message that are kept."""

Prompt = list[int] | str
"""Token ids, or text for an engine without a tokenizer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to an engine."""

    prompt: Prompt
    params: dict[str, Any]
    """Sampling parameters: temperature, `max_tokens`, constraint."""
    weights: str = field(default="", kw_only=True)
    """Which are to answer, of a model that has several: an update (see `eshop_ray.models.switched`), or the head of a
    task. Empty: any."""


@dataclass(frozen=True, slots=True)
class ApiRequest(Request):
    """One request to OpenAI's API. `prompt` is its body as JSON, what requests share with others first; `params` repeat
    what the dispatch goes by: `temperature`, `seed`, `max_tokens`.
    """

    url: str
    """Of the API, e.g. `/v1/completions`."""

    def read_body(self) -> dict[str, Any]:
        """Return the body."""
        body: dict[str, Any] = json.loads(str(self.prompt))
        return body


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said."""

    text: str
    finish_reason: Literal["stop", "length"]
    num_input_tokens: int
    num_generated_tokens: int
    confidence: float | None = None
    """Geometric mean of the probabilities of its tokens, before any constraint; None: not asked for, or not known."""
    switch_seconds: float | None = None
    """That the engine spent on folding in the weights of this row's task right before it; None: they were there."""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the server of OpenAI's API said; a refusal too is an answer."""

    status: int
    """Of HTTP; from 400 on, `body` is `{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}`."""
    body: str
    """JSON."""
    num_input_tokens: int = 0
    num_generated_tokens: int = 0
    ignored: tuple[str, ...] = ()
    """Fields of the request that have no meaning to the server."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no answer and will get none."""

    reason: Literal["prompt", "tokenize", "too_long", "engine", "engine_killed", "parse", "stopped"]
    message: str
    """For people; never text of a prompt or an answer."""

    @property
    def error(self) -> str:
        """The row's `error`."""
        return f"{self.reason}: {self.message[:MAX_FAILURE_CHARACTERS]}"


@dataclass(frozen=True, slots=True)
class Busy:
    """The engine could not take the row now; it may later."""

    message: str


Outcome = Answer | ApiAnswer | Failure
"""How a row ends."""

Reply = Outcome | Busy
"""What an engine says to one request of a call."""


def find_too_long(num_prompt_tokens: int, params: dict[str, Any], context: int) -> Failure | None:
    """Return the failure of a request that has no room for its answer, before an engine would cut it off."""
    wanted = num_prompt_tokens + params["max_tokens"]
    if wanted <= context:
        return None
    return Failure(
        "too_long",
        f"{num_prompt_tokens} prompt tokens and {params['max_tokens']} to generate exceed the context of {context}",
    )


def mean_probability(logprobs: Iterable[float | None]) -> float | None:
    """Return the geometric mean of the probabilities of an answer's tokens; None for an answer without any.

    Args:
        logprobs: Natural logarithms of the probabilities; None where a token's is not known.
    """
    known = [value for value in logprobs if value is not None]
    return math.exp(sum(known) / len(known)) if known else None
