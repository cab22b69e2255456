"""What goes to an engine and what comes back, row by row."""

from dataclasses import dataclass
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said."""

    text: str
    finish_reason: Literal["stop", "length"]
    num_input_tokens: int
    num_generated_tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no answer and will get none."""

    reason: Literal["prompt", "tokenize", "too_long", "engine", "engine_killed", "parse"]
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


Outcome = Answer | Failure
"""How a row ends."""

Reply = Answer | Failure | Busy
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
