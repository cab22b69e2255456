"""An engine without a process, and a clock that does not wait."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.requests import Answer, Busy, Failure

STALL_SECONDS = 600


class ImpatientLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as there is nothing else to do."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]
        if not self._ready and timers:
            self.now = max(self.now, min(timers))
        super()._run_once()


@dataclass
class FakeEngine:
    """Answers with the prompt; prompts are `kill`, `stall`, `slow`, `reject` or `busy N`, anything behind, or good."""

    failing_starts: int = 0
    deaths: set[int] = field(default_factory=set)
    """Calls, counted from 0, in the middle of which someone outside kills the engine."""
    calls: list[list[str]] = field(default_factory=list)
    inside: Counter = field(default_factory=Counter)
    most_inside: int = 0
    num_starts: int = 0
    is_up: bool = False
    is_slow: bool = False
    """Whether it makes steps."""
    busy: Counter = field(default_factory=Counter)
    num_deaths_of_probes: int = 0

    async def start(self):
        await asyncio.sleep(0)
        if self.failing_starts:
            self.failing_starts -= 1
            raise EngineDiedError("out of memory")
        assert not self.is_up
        self.num_starts += 1
        self.is_up = True

    async def stop(self):
        self.is_up = False

    async def measure_progress(self):
        return asyncio.get_running_loop().time() if self.is_slow else 0

    async def ask(self, requests):
        prompts = [request.prompt for request in requests]
        number, engine = len(self.calls), self.num_starts
        self.calls.append(prompts)
        self.inside[engine] += 1
        self.most_inside = max(self.most_inside, self.inside[engine])
        try:
            for turn in range(3):
                await asyncio.sleep(0)
                if turn == 1 and (number in self.deaths or any(prompt.startswith("kill") for prompt in prompts)):
                    self.is_up = False
                if not self.is_up or self.num_starts != engine:
                    self.num_deaths_of_probes += prompts == ["Hello"]
                    raise EngineDiedError("died")
            if any(prompt.startswith("stall") for prompt in prompts):
                await asyncio.sleep(10 * STALL_SECONDS)
            if any(prompt.startswith("slow") for prompt in prompts):
                self.is_slow = True
                await asyncio.sleep(10 * STALL_SECONDS)
        finally:
            self.inside[engine] -= 1
        return [self.reply(prompt) for prompt in prompts]

    def reply(self, prompt):
        if prompt.startswith("reject"):
            return Failure("engine", "refused")
        if prompt.startswith("busy") and self.busy[prompt] < int(prompt.split()[1]):
            self.busy[prompt] += 1
            return Busy("HTTP 429")
        return Answer(prompt, "stop", 1, 1)
