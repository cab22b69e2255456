"""The engine without a model: it makes its answers up from the prompt alone, and fails on command.

For tests of all that is not the model, at any size.
"""

import asyncio
import functools
import os
import re
import signal
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field, ValidationError

from eshop_ray.config import InferConfig
from eshop_ray.config.base import PositiveInt, Section
from eshop_ray.errors import UserError
from eshop_ray.inference.actor import EngineActor
from eshop_ray.inference.base import AskAgain, Engine
from eshop_ray.inference.requests import Answer, Busy, Failure, Reply, Request
from eshop_ray.inference.stage import run_stage
from eshop_ray.inference.supervisor import Limits
from eshop_ray.schema import Message
from eshop_ray.tasks import get_task

NUM_CALLS = 4
"""Calls in flight."""

FREE_WORDS = 12
"""Words of a free answer."""


class SimulatedOptions(Section):
    """`infer.engine_kwargs` of the simulated engine. `..._on` is text: rows whose prompt holds it are meant."""

    rows_per_second: float | None = Field(default=None, gt=0)
    """Speed; None: as fast as it goes."""
    start_seconds: float = Field(default=0.0, ge=0)
    """Seconds until it is up."""
    kill_on: str | None = None
    """The engine's process kills itself."""
    stall_on: str | None = None
    """The engine never answers again."""
    refuse_on: str | None = None
    """The engine is too busy for the row, `refuse_times` times."""
    refuse_times: PositiveInt = 1
    """How often."""
    reject_on: str | None = None
    """The engine refuses the row for good."""
    truncate_on: str | None = None
    """The answer has `truncate_tokens` words, and is cut where `max_tokens` are fewer."""
    truncate_tokens: PositiveInt = 1_000_000
    """How long such an answer wants to be."""
    empty_on: str | None = None
    """The answer is empty."""


class SimulatedEngine:
    """The actor."""

    def __init__(self, options: SimulatedOptions) -> None:
        self._options = options
        self._refused: Counter[str] = Counter()
        self._pace = asyncio.Lock()

    async def ready(self) -> None:
        """Return when the engine is up."""
        await asyncio.sleep(self._options.start_seconds)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer a call."""
        replies = [self._reply(request) for request in requests]
        if self._options.rows_per_second:
            async with self._pace:
                await asyncio.sleep(len(requests) / self._options.rows_per_second)
        return replies

    def _reply(self, request: Request) -> Reply:
        options, prompt = self._options, str(request.prompt)
        if options.kill_on and options.kill_on in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if options.stall_on and options.stall_on in prompt:
            time.sleep(1e9)
        if options.reject_on and options.reject_on in prompt:
            return Failure("engine", "rejected on command")
        if options.refuse_on and options.refuse_on in prompt and self._refused[prompt] < options.refuse_times:
            self._refused[prompt] += 1
            return Busy("refused on command")
        return make_answer(prompt, request.params, options)


def build_simulated(config: InferConfig, ask_again: AskAgain | None = None) -> Engine:
    """Return the engine; one CPU per actor, as vLLM's.

    Raises:
        UserError: if `infer.engine_kwargs` holds what no simulated engine knows.
    """
    try:
        options = SimulatedOptions(**config.engine_kwargs)
    except ValidationError as error:
        raise UserError(f"infer.engine_kwargs of the simulated engine: {error}") from error
    limits = Limits.of(config, NUM_CALLS)

    def build_actor() -> EngineActor:
        return EngineActor(SimulatedEngine, (options,), {"num_cpus": 1})

    return lambda prompts: run_stage(prompts, build_actor, limits, config.concurrency, join_messages, ask_again)


def join_messages(messages: Sequence[Message]) -> str:
    """Return the prompt's text."""
    return "\n".join(message["content"] for message in messages)


def make_answer(prompt: str, params: dict[str, Any], options: SimulatedOptions) -> Answer | Failure:
    """Return the one answer that this prompt always gets."""
    try:
        words = write_text(prompt, params.get("structured_outputs")).split(" ")
    except ValueError as error:
        return Failure("engine", str(error))
    if options.truncate_on and options.truncate_on in prompt:
        words = [words[index % len(words)] for index in range(min(options.truncate_tokens, params["max_tokens"] + 1))]
    if options.empty_on and options.empty_on in prompt:
        words = []
    kept = words[: params["max_tokens"]]
    return Answer(" ".join(kept), "length" if len(kept) < len(words) else "stop", len(prompt.split()), len(kept))


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
    raise ValueError(f"simulated engine: no answer to a constraint of kind {', '.join(output)}")


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
