"""What the simulated engine says: made up from the prompt alone, and within its constraint."""

import functools
import json
import re
import time
import zlib
from collections.abc import Iterable
from typing import Any, Literal

from eshop_ray.inference.openai_api import CHAT_URL, list_texts, rename_constraints, write_error
from eshop_ray.inference.requests import Answer, ApiAnswer, ApiRequest, Failure
from eshop_ray.tasks import get_task

FREE_WORDS = 12
"""Words of a free answer."""


def make_answer(prompt: str, params: dict[str, Any], num_words: int | None = None) -> Answer | Failure:
    """Return the one answer that this prompt always gets.

    Args:
        prompt: All of it.
        params: Sampling parameters.
        num_words: How long the answer wants to be; None: as its words are.
    """
    try:
        words = write_text(prompt, params.get("structured_outputs")).split(" ")
    except ValueError as error:
        return Failure("engine", str(error))
    if num_words is not None:
        words = [words[index % len(words)] for index in range(min(num_words, params["max_tokens"] + 1))]
    kept = words[: params["max_tokens"]]
    ending: Literal["stop", "length"] = "length" if len(kept) < len(words) else "stop"
    confidence = (1 + zlib.crc32(prompt.encode()) % 100) / 100 if params.get("logprobs") is not None else None
    return Answer(" ".join(kept), ending, len(prompt.split()), len(kept), confidence)


def make_response(request: ApiRequest, num_words: int | None = None) -> ApiAnswer | Failure:
    """Return the one response that a request to OpenAI's API always gets.

    Args:
        request: For a chat completion.
        num_words: How long the answer wants to be.
    """
    if request.url != CHAT_URL:
        return write_error(400, f"{request.url} is not served by a simulated engine", "url", "invalid_url")
    body = rename_constraints(request.read_body())
    texts = list(list_texts(body.get("messages")))
    if not texts:
        return write_error(400, "messages: Field required", "messages", "missing_required_parameter")
    params = {
        "max_tokens": request.params["max_tokens"] or FREE_WORDS,
        "structured_outputs": body.get("structured_outputs"),
    }
    answer = make_answer("\n".join(texts), params, num_words)
    if isinstance(answer, Failure):
        return answer
    message = {"role": "assistant", "content": answer.text}
    usage = {"prompt_tokens": answer.num_input_tokens, "completion_tokens": answer.num_generated_tokens}
    response = {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model") or "simulated",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }
    return ApiAnswer(200, json.dumps(response), answer.num_input_tokens, answer.num_generated_tokens)


def write_text(prompt: str, output: dict[str, Any] | None) -> str:
    """Return text that the constraint allows.

    Raises:
        ValueError: for a constraint that cannot be simulated.
    """
    if output is None:
        return " ".join(prompt.rpartition("\n")[2].split()[:FREE_WORDS])
    if "choice" in output:
        return str(output["choice"][zlib.crc32(prompt.encode()) % len(output["choice"])])
    if "regex" in output:
        return _write_match(output["regex"])
    if output.get("json", {}).get("type") == "object":
        properties: dict[str, dict[str, Any]] = output["json"].get("properties", {})
        return json.dumps({name: _write_value(name, prompt, kind) for name, kind in properties.items()})
    raise ValueError(f"simulated engine: no answer to a constraint of kind {', '.join(output)}")


def _write_value(name: str, prompt: str, kind: dict[str, Any]) -> Any:
    """Return one of the values that a property of an object may have, or the last word of the prompt."""
    if "enum" in kind:
        return kind["enum"][zlib.crc32(f"{name} {prompt}".encode()) % len(kind["enum"])]
    return (prompt.split() or [""])[-1]


def _write_match(regex: str) -> str:
    """Return a text that matches: for tagging, every word of the query with type `O`."""
    between, end = _tagging_pattern()
    if not regex.endswith(end):
        return _write_shortest(regex)
    words = regex.removesuffix(end).split(between)
    return " | ".join(re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) + "=O" for word in words)


@functools.cache
def _tagging_pattern() -> tuple[str, str]:
    """Return what tagging's constraint puts between two words and after the last."""
    build = get_task("ner_tagging").output
    end = (build({"tokens": ["x"]}) or {})["regex"][1:]
    return (build({"tokens": ["x", "y"]}) or {})["regex"][1 : -1 - len(end)], end


@functools.lru_cache(maxsize=1024)
def _write_shortest(regex: str) -> str:
    """Return a text with the fewest repeats, the first of every choice."""
    from re import _parser  # type: ignore[attr-defined]

    return _write_nodes(_parser.parse(regex))


def _write_node(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(value[0])
        case "IN":
            return _write_nodes(value[:1])
        case "BRANCH":
            return _write_nodes(value[1][0])
        case "SUBPATTERN":
            return _write_nodes(value[3])
        case "MAX_REPEAT":
            return _write_nodes(value[2]) * int(value[0])
    raise ValueError(f"simulated engine: no answer to a regex with {kind}")


def _write_nodes(nodes: Iterable[tuple[Any, Any]]) -> str:
    return "".join(_write_node(*node) for node in nodes)
