"""A question as a request for a chat completion, and what it can come to at most."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.config import OpenaiSection
from eshop_ray.inference.requests import Request
from eshop_ray.schema import Message

BYTES_PER_TOKEN = 3
"""Of a text, by a cautious estimate: English has four or five, Japanese about three."""
MESSAGE_TOKENS = 16
TEMPLATE_TOKENS = 64
"""What a chat template may add to each message, and to all."""

LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
VLLM_FIELDS = ("min_tokens",)
"""Sampling parameters that only vLLM's server knows."""

WRAPPED = "answer"
"""Field of the JSON object in which an answer stands that is no object itself: OpenAI's schemas have one at the top."""


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a request and its answer."""

    num_expected: int
    """By estimate, which limits of speed go by."""
    num_read: int
    """At most: no token is shorter than a byte."""
    num_written: int | None
    """At most; None: nothing limits the answer."""


def write_messages(messages: Sequence[Message]) -> str:
    """Return messages as the prompt of a request: JSON, whose beginning rows share as they share their prompt's."""
    return json.dumps([{"role": message["role"], "content": message["content"]} for message in messages])


def read_messages(prompt: str) -> list[Message]:
    """Return the messages of a prompt; a supervisor's harmless question is bare text."""
    if not prompt.startswith("["):
        return [{"role": "user", "content": prompt}]
    messages: list[Message] = json.loads(prompt)
    return messages


def build_body(request: Request, config: OpenaiSection) -> dict[str, Any]:
    """Return the body of the request."""
    params = dict(request.params)
    output = params.pop("structured_outputs", None)
    if params.pop("logprobs", None) is not None:
        params["logprobs"] = True
    if config.constrained_decoding != "structured_outputs":
        params = {name: value for name, value in params.items() if name not in VLLM_FIELDS}
    if output and config.constrained_decoding == "structured_outputs":
        params["structured_outputs"] = output
    elif output and config.constrained_decoding == "response_format":
        schema = {"name": "answer", "strict": True, "schema": build_schema(output)}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    body = {"model": config.model, "messages": read_messages(str(request.prompt)), **params, **config.extra_body}
    return {name: value for name, value in body.items() if value is not None}


def build_schema(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a task's declared output, an object at the top.

    Args:
        output: `{"choice": [...]}`, `{"regex": ...}` or `{"json": ...}`.
    """
    if "json" in output:
        schema = json.loads(output["json"]) if isinstance(output["json"], str) else output["json"]
        schema = {name: value for name, value in schema.items() if not name.startswith("x-")}  # vLLM's own words
        return schema if schema.get("type") == "object" else _wrap(schema)
    if "choice" in output:
        return _wrap({"type": "string", "enum": list(output["choice"])})
    return _wrap({"type": "string", "pattern": f"^(?:{output['regex']})$"})


def unwrap(text: str, body: Mapping[str, Any]) -> str:
    """Return the answer in a text that a schema of ours has wrapped; what was cut off stays as it is."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if list(schema.get("properties", ())) != [WRAPPED]:
        return text
    try:
        answer = json.loads(text)[WRAPPED]
    except (ValueError, KeyError, TypeError):
        return text
    return answer if isinstance(answer, str) else json.dumps(answer)


def measure(body: Mapping[str, Any]) -> Size:
    """Return what a request can come to."""
    messages = body["messages"]
    num_bytes = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    around = TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages)
    limit = next((body[name] for name in LIMIT_FIELDS if isinstance(body.get(name), int)), None)
    return Size(num_bytes // BYTES_PER_TOKEN + around + (limit or 0), num_bytes + around, limit)


def fits_estimate(context: int, messages: Sequence[Message], params: Mapping[str, Any]) -> bool:
    """Return whether a prompt and its answer fit into a context, where nobody has the tokenizer."""
    return measure({"messages": messages, "max_tokens": params["max_tokens"]}).num_expected <= context


def _wrap(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {WRAPPED: schema}
    return {"type": "object", "properties": properties, "required": [WRAPPED], "additionalProperties": False}
