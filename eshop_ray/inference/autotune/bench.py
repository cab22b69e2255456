"""Engines on the bench: started, warmed up, asked by the pipeline's own dispatcher, timed, and ended."""

import asyncio
import functools
import itertools
import math
import time
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import TypeVar

from eshop_ray.artifacts import AnyFolder
from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.autotune.knobs import count_calls
from eshop_ray.inference.autotune.search import TrialError
from eshop_ray.inference.autotune.workload import Workload
from eshop_ray.inference.dispatch.blocks import WritePrompt
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError, SupervisedEngine
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK, count_blocks
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engines.actor import ENGINE_START_SECONDS, EngineActor
from eshop_ray.inference.engines.simulated.build import join_messages
from eshop_ray.inference.engines.simulated.engine import SimulatedEngine, SimulatedOptions
from eshop_ray.inference.engines.vllm import build_actor, write_ids
from eshop_ray.inference.requests import Answer, Outcome, Reply, Request
from eshop_ray.reporting.words import format_seconds

Value = TypeVar("Value")

PASS_SECONDS = 5.0
"""Rows that are answered sooner are asked in several rounds: a shorter measurement is mostly its own tail."""

MAX_ROUNDS = 40
"""Rounds of one measurement at most."""

WARM_UP_ROWS = 64
"""Rows that a new engine answers before it is measured."""

PATIENCE = 4.0
"""Settings that take so many times as long as the original ones, to start or to answer, are given up."""

SPARE_SECONDS = 30.0
"""What is allowed on top, for engines that are done in a moment."""

MAX_TROUBLE = 200
"""Characters of what an engine says of settings that it refuses."""


class MortalEngine:
    """An engine that is not started anew when it is lost: its settings have failed, and others wait to be tried."""

    def __init__(self, engine: SupervisedEngine) -> None:
        self._engine = engine
        self._is_up = self._is_lost = False

    async def start(self) -> None:
        """Return when calls can be taken."""
        if self._is_lost:
            raise UserError("the engine died")
        if not self._is_up:
            await self._engine.start()
            self._is_up = True

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Have the engine answer."""
        return await self._engine.ask(requests)

    async def measure_progress(self) -> int | None:
        """Return None: settings that are too slow are as good as dead."""
        return None

    async def stop(self) -> None:
        """End the engine for good."""
        self._is_lost = True
        await self._engine.stop()


class EngineBench:
    """Measures settings on engines of its own, one at a time; a context manager, after which none is left."""

    def __init__(self, workload: Workload, model_dir: AnyFolder, max_seconds: float) -> None:
        self.running: InferSection | None = None
        self.start_seconds = self.pass_seconds = 0.0
        self._workload = workload
        self._model_dir = model_dir
        self._start_limit = min(ENGINE_START_SECONDS, max_seconds)
        self._pass_limit = 0.0
        self._num_rounds = 0
        self._least_answers = 1
        self._runner = asyncio.Runner()
        self._engine: MortalEngine | None = None

    def __enter__(self) -> "EngineBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._runner.close()

    def start(self, infer: InferSection) -> None:
        """Start an engine in place of the one before, and warm it up."""
        self._stop()
        began = time.monotonic()
        engine, self._write_prompt = build_engine_actor(infer, self._model_dir)
        self._engine = MortalEngine(engine)
        self._wait(self._engine.start(), self._start_limit, "start")
        self._rounds = itertools.count()
        warm_up = self._build_round()[:WARM_UP_ROWS]
        self._ask(infer, warm_up, self._pass_limit or infer.timeout_seconds)
        self.running = infer
        seconds = time.monotonic() - began
        self.start_seconds = max(self.start_seconds, seconds)
        if not self._num_rounds:
            self._take_measure(infer, seconds)

    def measure(self, infer: InferSection) -> float:
        """Ask the engine that is up all rows, in as many rounds as were found long enough, and return rows/s."""
        requests = [one for _ in range(self._num_rounds) for one in self._build_round()]
        began = time.monotonic()
        outcomes = self._ask(infer, requests, self._pass_limit)
        seconds = time.monotonic() - began
        self.pass_seconds = max(self.pass_seconds, seconds)
        num_answers = sum(isinstance(outcome, Answer) for outcome in outcomes)
        if num_answers < self._least_answers:
            self._stop()
            raise TrialError(f"{len(outcomes) - num_answers} of {len(outcomes)} rows failed")
        if self._least_answers == 1:
            self._least_answers = math.ceil(0.99 * num_answers)
        return num_answers / seconds

    def _take_measure(self, infer: InferSection, start_seconds: float) -> None:
        """Settle, by the first engine, how long a measurement is and how long others may take."""
        rows = self._build_round()
        began = time.monotonic()
        self._ask(infer, rows, infer.timeout_seconds)
        seconds = time.monotonic() - began
        self._num_rounds = min(MAX_ROUNDS, math.ceil(PASS_SECONDS / seconds))
        self._start_limit = min(self._start_limit, PATIENCE * start_seconds + SPARE_SECONDS)
        self._pass_limit = PATIENCE * seconds * self._num_rounds + SPARE_SECONDS

    def _build_round(self) -> list[Request]:
        return self._workload.build_round(next(self._rounds), self._write_prompt)

    def _ask(self, infer: InferSection, requests: Sequence[Request], limit: float) -> list[Outcome]:
        assert self._engine is not None
        return self._wait(ask_in_blocks(self._engine, infer, requests), limit, "answer")

    def _wait(self, work: Awaitable[Value], limit: float, verb: str) -> Value:
        """Return what an engine returns; if it does not, end it."""
        try:
            return self._runner.run(_within(work, limit))
        except TimeoutError:
            trouble = f"it did not {verb} within {format_seconds(limit)}"
        except EngineDiedError as error:  # by its type alone: the text of an engine's error may quote rows
            trouble = f"it did not {verb} ({error})"
        except UserError as error:
            trouble = " ".join(str(error).split())[:MAX_TROUBLE]
        self._stop()
        raise TrialError(trouble)

    def _stop(self) -> None:
        engine, self._engine, self.running = self._engine, None, None
        if engine is not None:
            self._runner.run(engine.stop())


def build_engine_actor(infer: InferSection, model_dir: AnyFolder) -> tuple[EngineActor, WritePrompt]:
    """Return a new engine of the pipeline's kind, and what writes its prompts."""
    if infer.engine == "simulated":
        options = SimulatedOptions(**infer.engine_kwargs)
        return EngineActor(SimulatedEngine, (options, 0), {"num_cpus": 1}), join_messages
    return build_actor(infer, model_dir), functools.partial(write_ids, model_dir)


async def ask_in_blocks(engine: SupervisedEngine, infer: InferSection, requests: Sequence[Request]) -> list[Outcome]:
    """Return the outcomes of all requests, asked as the engine stage asks: some blocks at a time, cut into calls."""
    limits = Limits.of(infer, count_calls(infer))
    dispatcher, gate = Dispatcher([engine], limits), asyncio.Semaphore(count_blocks(limits))

    async def ask(block: Sequence[Request]) -> list[Outcome]:
        async with gate:
            return await dispatcher.answer(block)

    size = CALLS_PER_BLOCK * infer.batch_size
    blocks = (requests[start : start + size] for start in range(0, len(requests), size))
    return list(itertools.chain.from_iterable(await asyncio.gather(*map(ask, blocks))))


async def _within(work: Awaitable[Value], limit: float) -> Value:
    async with asyncio.timeout(limit):
        return await work
