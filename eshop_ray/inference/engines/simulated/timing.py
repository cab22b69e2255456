"""A GPU's time without a GPU: rows are read, then written together, step by step, others following as they end.

Reading and writing share the GPU: a prompt takes its tokens, less those that the prefix cache holds, over the reading
speed, and all who write wait for it; a step gives each sequence a token. Nothing is computed: time is reckoned from
one end of a row to the next, and slept.
"""

import asyncio
import heapq
import json
import os
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section
from eshop_ray.inference.dispatch.batching import (
    CHARS_PER_TOKEN,
    PREFIX_BLOCK_TOKENS,
    RecentHashes,
    chain_prefix_hashes,
)
from eshop_ray.inference.requests import Prompt

TICK_SECONDS = 0.1
"""Ends of rows are looked for no more often; the reckoning does not lose the time between."""


class Timing(Section):
    """How fast the GPU is."""

    prefill_tokens_per_second: float = Field(default=100_000, gt=0)
    """Prompt tokens read."""
    step_seconds: float = Field(default=0.006, gt=0)
    """One step: a token for each sequence."""
    step_seconds_per_sequence: float = Field(default=0.00002, ge=0)
    """What each sequence adds to a step."""
    max_num_seqs: PositiveInt = 256
    """Sequences written together."""
    answer_tokens: PositiveInt | None = None
    """Tokens that an answer takes; None: as many as it has words."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """Answers take up to this share more or fewer tokens, each always the same."""
    prefix_cache_tokens: int = Field(default=0, ge=0)
    """Prompt tokens kept, the latest used ones."""
    slow_share: float = Field(default=0.0, ge=0, le=1)
    """Share of a group's engines that are slow, always the same ones."""
    slow_factor: float = Field(default=1.0, ge=1)
    """How many times as long a slow engine takes."""
    trace_dir: str | None = None
    """Folder where each engine notes at the end of every call: the time, and its rows, prompt tokens and those found in
    the cache, so far."""

    def count_rows_per_second(self, num_prompt_tokens: float, num_answer_tokens: float) -> float:
        """Return the speed of an engine that never lacks rows, of so many tokens that the cache does not hold."""
        step = self.step_seconds + self.max_num_seqs * self.step_seconds_per_sequence
        reading = num_prompt_tokens / self.prefill_tokens_per_second
        return 1 / (reading + num_answer_tokens * step / self.max_num_seqs)


@dataclass(slots=True)
class _SimulatedCall:
    num_open: int
    done: "asyncio.Future[None]"


class SimulatedGpu:
    """One engine's GPU."""

    def __init__(self, timing: Timing, number: int) -> None:
        """`number` counts the engines of a group."""
        self._timing = timing
        is_slow = int((number + 1) * timing.slow_share) > int(number * timing.slow_share)
        self._slowness = timing.slow_factor if is_slow else 1.0
        self._cache = RecentHashes(timing.prefix_cache_tokens // PREFIX_BLOCK_TOKENS)
        self._waiting: deque[tuple[int, Prompt, float, _SimulatedCall]] = deque()
        self._writing: list[tuple[float, int, _SimulatedCall]] = []
        """Heap: the step at which a row ends."""
        self._num_rows = 0
        self._time = 0.0
        self._step = 0.0
        self._reading_seconds = 0.0
        """Still to be spent on prompts of rows that are in."""
        self.num_ended = self.num_read = self.num_cached = 0
        """Rows so far, their prompt tokens, and those found in the cache."""
        self._ticker: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to keep count."""
        self._note()

    async def run(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> None:
        """Return when answers of such lengths, in tokens, would be written."""
        loop = asyncio.get_running_loop()
        call = _SimulatedCall(len(prompts), loop.create_future())
        self._advance(loop.time())
        for prompt, length in zip(prompts, lengths, strict=True):
            self._num_rows += 1
            self._waiting.append((self._num_rows, prompt, self._measure(prompt, length), call))
        if self._ticker is None:
            self._ticker = loop.create_task(self._tick())
        await call.done
        self._note()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or self._writing:
            self._advance(loop.time())
            await asyncio.sleep(TICK_SECONDS)
        self._ticker = None

    def _measure(self, prompt: Prompt, length: int) -> float:
        """Return the tokens that an answer takes."""
        tokens = float(self._timing.answer_tokens or length)
        if self._timing.jitter:
            tokens *= 1 + self._timing.jitter * (
                2 * (zlib.crc32(repr(prompt[-PREFIX_BLOCK_TOKENS:]).encode()) % 1000) / 999 - 1
            )
        return max(1.0, tokens)

    def _advance(self, until: float) -> None:
        """Reckon what happens up to a time."""
        while True:
            while self._waiting and len(self._writing) < self._timing.max_num_seqs:
                self._admit(*self._waiting.popleft())
            if not self._writing:
                self._time = until
                return
            end, _, call = self._writing[0]
            step = self._slowness * (
                self._timing.step_seconds + len(self._writing) * self._timing.step_seconds_per_sequence
            )
            left = until - self._time - self._reading_seconds
            if left < (end - self._step) * step:
                self._step += max(0.0, left) / step
                self._reading_seconds = max(0.0, -left)
                self._time = until
                return
            self._time += self._reading_seconds + (end - self._step) * step
            self._step, self._reading_seconds = end, 0.0
            heapq.heappop(self._writing)
            self._end(call)

    def _admit(self, number: int, prompt: Prompt, tokens: float, call: _SimulatedCall) -> None:
        num_tokens = len(prompt) // CHARS_PER_TOKEN if isinstance(prompt, str) else len(prompt)
        num_cached = self._look_up(prompt)
        self.num_read += num_tokens
        self.num_cached += num_cached
        self._reading_seconds += self._slowness * (num_tokens - num_cached) / self._timing.prefill_tokens_per_second
        heapq.heappush(self._writing, (self._step + tokens, number, call))

    def _look_up(self, prompt: Prompt) -> int:
        """Return the tokens that a prompt begins with and the cache holds; then it holds all of them."""
        if not self._timing.prefix_cache_tokens:
            return 0
        are_new = [self._cache.add(prefix_hash) for prefix_hash in chain_prefix_hashes(prompt)]
        return PREFIX_BLOCK_TOKENS * (are_new.index(True) if True in are_new else len(are_new))

    def _end(self, call: _SimulatedCall) -> None:
        self.num_ended += 1
        call.num_open -= 1
        if not call.num_open and not call.done.done():
            call.done.set_result(None)

    def _note(self) -> None:
        if self._timing.trace_dir:
            line = json.dumps([time.time(), self.num_ended, self.num_read, self.num_cached])
            with Path(self._timing.trace_dir, f"{os.getpid()}.jsonl").open("a") as file:
                file.write(line + "\n")
