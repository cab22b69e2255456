"""The simulated engine's actor: it answers in its own time, and fails on command."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from eshop_ray.artifacts import fingerprint
from eshop_ray.config.base import PositiveInt, Section
from eshop_ray.inference.engines.simulated.answers import make_answer, make_response
from eshop_ray.inference.engines.simulated.timing import SimulatedGpu, Timing
from eshop_ray.inference.requests import Answer, ApiAnswer, ApiRequest, Busy, Failure, Reply, Request


class SimulatedOptions(Section):
    """`infer.engine_kwargs` of the simulated engine. `..._on` is text: rows whose prompt holds it are meant."""

    rows_per_second: float | None = Field(default=None, gt=0)
    """Speed; None: as fast as it goes."""
    hurry_on: str | None = None
    """A file: `rows_per_second` holds until there is one."""
    start_seconds: float = Field(default=0.0, ge=0)
    """Seconds until it is up."""
    start_on: str | None = None
    """A file: it is not up before there is one."""
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
    timing: Timing | None = None
    """A GPU's time for every row, in place of `rows_per_second`."""


ANSWER_OPTIONS = frozenset({"truncate_on", "truncate_tokens", "empty_on"})
"""Options that change an answer; the others change its time, or whether there is one."""


def digest_simulated(options: Mapping[str, Any]) -> str:
    """Return what stands for the digest of a simulated model.

    Args:
        options: `infer.engine_kwargs`.
    """
    return fingerprint(["simulated", {name: value for name, value in options.items() if name in ANSWER_OPTIONS}])


class SimulatedEngine:
    """The actor."""

    def __init__(self, options: SimulatedOptions, number: int = 0) -> None:
        self._options = options
        self._gpu = SimulatedGpu(options.timing, number) if options.timing else None
        self._refused: Counter[str] = Counter()
        self._pace = asyncio.Lock()

    async def ready(self) -> None:
        """Return when the engine is up."""
        if self._gpu:
            self._gpu.begin()
        await asyncio.sleep(self._options.start_seconds)
        while self._options.start_on and not Path(self._options.start_on).exists():
            await asyncio.sleep(0.1)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer a call."""
        replies = [self._reply(request) for request in requests]
        if self._options.rows_per_second and not self._hurries():
            async with self._pace:
                await asyncio.sleep(len(requests) / self._options.rows_per_second)
        if self._gpu:
            lengths = [reply.num_generated_tokens if isinstance(reply, Answer | ApiAnswer) else 0 for reply in replies]
            await self._gpu.run([request.prompt for request in requests], lengths)
        return replies

    async def measure_progress(self) -> int | None:
        """Return None: answers come all at once."""
        return None

    def _hurries(self) -> bool:
        return self._options.hurry_on is not None and Path(self._options.hurry_on).exists()

    def _reply(self, request: Request) -> Reply:
        options, prompt = self._options, str(request.prompt)
        if options.kill_on is not None and options.kill_on in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if options.stall_on and options.stall_on in prompt:
            time.sleep(1e9)
        if options.reject_on and options.reject_on in prompt:
            return Failure("engine", "rejected on command")
        if options.refuse_on and options.refuse_on in prompt and self._refused[prompt] < options.refuse_times:
            self._refused[prompt] += 1
            return Busy("refused on command")
        num_words = self._count_words(prompt)
        if isinstance(request, ApiRequest):
            return make_response(request, num_words)
        return make_answer(prompt, request.params, num_words)

    def _count_words(self, prompt: str) -> int | None:
        options = self._options
        if options.empty_on and options.empty_on in prompt:
            return 0
        return options.truncate_tokens if options.truncate_on and options.truncate_on in prompt else None
