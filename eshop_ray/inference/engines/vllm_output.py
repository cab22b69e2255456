"""What vLLM's finished outputs mean. An impossible constraint stops a model before its first token."""

import re
from collections.abc import Mapping
from typing import Any

from eshop_ray.inference.requests import Answer, Failure, Reply, mean_probability

NO_ANSWER = "no answer fits its constraint"


def read_output(output: Any, params: Mapping[str, Any]) -> Reply:
    """Return a finished request's answer."""
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        return Failure("engine", f"vLLM ended with `{completion.finish_reason}`")
    if is_impossible(completion, params.get("structured_outputs")):
        return Failure("engine", NO_ANSWER)
    numbers = len(output.prompt_token_ids), len(completion.token_ids)
    return Answer(completion.text, completion.finish_reason, *numbers, _read_confidence(completion))


def _read_confidence(completion: Any) -> float | None:
    if not getattr(completion, "logprobs", None):
        return None
    chosen = zip(completion.token_ids, completion.logprobs, strict=True)
    return mean_probability(scored[token].logprob for token, scored in chosen)


def is_impossible(completion: Any, constraint: Mapping[str, Any] | None) -> bool:
    """Return whether an answer is empty because its constraint allows none."""
    return completion.finish_reason == "stop" and not completion.text and not may_be_empty(constraint or {})


def may_be_empty(constraint: Mapping[str, Any]) -> bool:
    """Return whether nothing is an answer, as far as the constraint shows that."""
    if constraint.get("choice") is not None:
        return "" in constraint["choice"]
    if constraint.get("regex") is not None:
        try:
            return bool(re.fullmatch(constraint["regex"], ""))
        except re.error:  # vLLM's regular expressions are not quite Python's
            return True
    return constraint.get("json") is None
