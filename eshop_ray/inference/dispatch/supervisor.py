"""Getting answers out of an engine that may die, stall or refuse, without losing a row or blaming the wrong one.

Rows come in calls, several at a time. When the engine dies, nobody is guilty yet: the rows of the calls
in flight are suspects and are asked again with nobody else inside, first in small groups, then, if a group kills
the engine too, one by one. A kill from outside therefore costs no row; a row that kills costs itself.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from eshop_ray.config import InferSection
from eshop_ray.inference.dispatch.circuit_breaker import CircuitBreaker, EngineBrokenError
from eshop_ray.inference.dispatch.lifecycle import Backoff, EngineDiedError, Lifecycle, SupervisedEngine
from eshop_ray.inference.dispatch.shared_lock import SharedLock
from eshop_ray.inference.requests import ApiRequest, Busy, Failure, Outcome, Reply, Request
from eshop_ray.reporting.words import format_seconds

MAX_DEATHS_ALONE = 2
"""Ends of the engine, by death or by stalling, with a row alone inside that make the row guilty; one could be chance.
Not `infer.max_retries`: while a suspect is asked, all others wait."""


PROBE_SECONDS = 30.0
"""An engine that is late has so long to show that it works: a step takes a fraction of that."""


class EngineStalledError(EngineDiedError):
    """The engine left a call unanswered for too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How an engine is asked."""

    batch_size: int
    """Rows per call."""
    num_calls: int
    """Calls that an engine has in hand."""
    timeout_seconds: float
    """An engine that leaves a call unanswered for so long, and does not go on meanwhile, counts as dead."""
    max_retries: int
    """Tries after the engine was too busy, or did not start."""

    @classmethod
    def of(cls, config: InferSection, num_calls: int) -> "Limits":
        """Return the configured limits."""
        return cls(config.batch_size, num_calls, config.timeout_seconds, config.max_retries)


def count_filling_calls(config: InferSection, num_seqs: int) -> int:
    """Return the calls in hand of an engine that works on so many rows together.

    As many as are configured, else what fills it three times over, for the tails.
    """
    return config.max_concurrent_batches or max(2, math.ceil(3 * num_seqs / config.batch_size))


@dataclass(slots=True)
class _Row:
    index: int
    request: Request
    num_troubles: int = 0
    num_deaths: int = 0


@dataclass(frozen=True, slots=True)
class _Call:
    """Rows that are asked at once; suspects are asked alone."""

    rows: Sequence[_Row]
    is_suspect: bool = False

    def split(self) -> list["_Call"]:
        """Return the calls that find out which rows killed the engine."""
        size = 1 if self.is_suspect else math.isqrt(len(self.rows))
        starts = range(0, len(self.rows), size)
        return [_Call(self.rows[start : start + size], is_suspect=True) for start in starts]


class Supervisor:
    """Asks one engine, and restarts it. How much it is asked at a time is for the dispatcher to say."""

    def __init__(
        self, engine: SupervisedEngine, limits: Limits, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._backoff = Backoff(sleep)
        self._lock = SharedLock()
        self._lifecycle = Lifecycle(engine, limits.max_retries, self._backoff)
        self._breaker = CircuitBreaker()
        self._inside: set[int] = set()
        """Rows that the engine has in hand, by identity."""

    @property
    def is_open(self) -> bool:
        """Whether the engine is up and takes calls."""
        return self._lifecycle.is_running and self._lock.is_open

    async def open(self) -> None:
        """Return when the engine is up and takes calls; while it is restarted, or asked about suspects, it does not.

        Raises:
            UserError: if the engine does not start.
        """
        while not self.is_open:
            await self._lifecycle.ensure_running()
            await self._lock.opened()

    async def answer(self, requests: Sequence[Request]) -> list[Outcome]:
        """Ask a call and return one outcome per request, in order. Several calls may be asked at the same time.

        Raises:
            UserError: if the engine does not start, or dies whatever it is asked.
        """
        outcomes: dict[int, Outcome] = {}
        await self._settle(_Call([_Row(index, request) for index, request in enumerate(requests)]), outcomes)
        return [outcomes[index] for index in range(len(requests))]

    async def _settle_all(self, calls: Sequence[_Call], outcomes: dict[int, Outcome]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self._settle(call, outcomes))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _settle(self, call: _Call, outcomes: dict[int, Outcome]) -> None:
        """Ask until every row of the call has its outcome."""
        rows = call.rows
        while rows:
            try:
                async with self._lock.exclusive() if call.is_suspect else self._lock.shared():
                    replies = await self._ask(rows)
            except EngineDiedError as death:
                suspects = _Call(rows, call.is_suspect)
                if not call.is_suspect or len(rows) > 1:
                    return await self._settle_all(suspects.split(), outcomes)
                rows = self._record_crash(rows[0], death, outcomes)
            else:
                rows = self._keep(rows, replies, outcomes)
                if rows:
                    await self._backoff.pause(max(row.num_troubles for row in rows))
        return None

    async def _ask(self, rows: Sequence[_Row]) -> Sequence[Reply]:
        generation = await self._lifecycle.ensure_running()
        call = asyncio.ensure_future(self._engine.ask([row.request for row in rows]))
        inside = set(map(id, rows))
        self._inside |= inside
        try:
            while not await _is_done(call, self._limits.timeout_seconds):
                if not await self._is_at_work(call):
                    raise EngineStalledError(f"no answer within {format_seconds(self._limits.timeout_seconds)}")
            replies = call.result()
        except EngineDiedError as death:
            with_these = frozenset(self._inside)
            is_first = await self._lifecycle.discard(generation)
            if is_first and self._breaker.record_death(str(death), with_these):
                await self._prove(rows[0].request)
            raise
        finally:
            self._inside -= inside
            call.cancel()
        self._lifecycle.record_success()
        self._breaker.record_answers(len(rows))
        return replies

    async def _prove(self, request: Request) -> None:
        """Ask something harmless of an engine that dies and dies.

        Raises:
            EngineBrokenError: if it dies of that too; it is given up then.
        """
        probes = [probe] if (probe := build_probe(request)) else []
        for one in probes * MAX_DEATHS_ALONE:
            generation = await self._lifecycle.ensure_running()
            try:
                async with asyncio.timeout(self._limits.timeout_seconds):
                    await self._engine.ask([one])
            except (EngineDiedError, TimeoutError):
                await self._lifecycle.discard(generation)
            else:
                self._breaker.record_answers(0)
                return
        self._give_up(self._breaker.explain())

    def _give_up(self, error: EngineBrokenError) -> NoReturn:
        self._lifecycle.give_up(error)
        raise error

    async def _is_at_work(self, call: "asyncio.Future[Sequence[Reply]]") -> bool:
        """Return whether the engine goes on, or has just answered."""
        probe = min(PROBE_SECONDS, self._limits.timeout_seconds)
        try:
            async with asyncio.timeout(probe):
                before = await self._engine.measure_progress()
            if before is None or await _is_done(call, probe):
                return call.done()
            async with asyncio.timeout(probe):
                return await self._engine.measure_progress() != before
        except TimeoutError:
            return call.done()

    def _keep(self, rows: Sequence[_Row], replies: Sequence[Reply], outcomes: dict[int, Outcome]) -> list[_Row]:
        """File the replies and return the rows that the engine was too busy for."""
        busy = []
        for row, reply in zip(rows, replies, strict=True):
            if not isinstance(reply, Busy):
                outcomes[row.index] = reply
                continue
            row.num_troubles += 1
            if row.num_troubles > self._limits.max_retries:
                outcomes[row.index] = Failure("engine", f"{reply.message}, {row.num_troubles} times")
            else:
                busy.append(row)
        return busy

    def _record_crash(self, row: _Row, death: EngineDiedError, outcomes: dict[int, Outcome]) -> list[_Row]:
        """Count the end of an engine with a row alone inside; return the row while that may be chance."""
        row.num_deaths += 1
        if row.num_deaths < MAX_DEATHS_ALONE:
            return [row]
        if broken := self._breaker.record_guilty(str(death)):
            self._give_up(broken)
        if isinstance(death, EngineStalledError):
            outcomes[row.index] = Failure("engine", f"{death}, {row.num_deaths} times alone")
        else:
            outcomes[row.index] = Failure("engine_killed", f"the engine died of it {row.num_deaths} times: {death}")
        return []


def build_probe(request: Request) -> Request | None:
    """Return a request of one token that no row's text is in; None for OpenAI's API, which needs a whole body."""
    if isinstance(request, ApiRequest):
        return None
    prompt = "Hello" if isinstance(request.prompt, str) else request.prompt[:1]
    return Request(prompt, {"max_tokens": 1, "temperature": 0.0})


async def _is_done(call: "asyncio.Future[Sequence[Reply]]", seconds: float) -> bool:
    done, _ = await asyncio.wait([call], timeout=seconds)
    return bool(done)
