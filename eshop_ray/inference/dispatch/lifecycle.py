"""Whether an engine is up: starting it, and starting it anew once it is lost."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from eshop_ray.errors import UserError
from eshop_ray.inference.requests import Reply, Request

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds between tries: doubled each time, up to the longest, times a random share of 0.5 to 1."""


class EngineDiedError(Exception):
    """The engine is gone, or no longer to be trusted, and the calls in flight with it."""


class DidNotStartError(UserError):
    """The engine did not come up, however often it was tried. Another one may, elsewhere."""


class SupervisedEngine(Protocol):
    """What a supervisor asks of an engine."""

    async def start(self) -> None:
        """Return when calls can be taken.

        Raises:
            EngineDiedError: if it may work the next time.
            UserError: if it never will.
        """

    async def ask(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Return one reply per request, in order.

        Raises:
            EngineDiedError: if the call was lost.
        """

    async def measure_progress(self) -> int | None:
        """Return a number that changes while the engine works; None if there is no telling.

        Raises:
            EngineDiedError: if the engine is gone.
        """

    async def stop(self) -> None:
        """End the engine at once, whatever state it is in; `start` may follow."""


class Backoff:
    """Pauses that grow with trouble."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep

    async def pause(self, num_troubles: int) -> None:
        """Wait, after so many troubles in a row; not at all after none."""
        if num_troubles:
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (num_troubles - 1))
            await self._sleep(longest * random.uniform(0.5, 1.0))


class Lifecycle:
    """Keeps one engine running, for many calls at a time."""

    def __init__(self, engine: SupervisedEngine, max_retries: int, backoff: Backoff) -> None:
        self._engine = engine
        self._max_retries = max_retries
        self._backoff = backoff
        self._lock = asyncio.Lock()
        self._is_running = False
        self._generation = 0
        self._num_losses_in_a_row = 0
        self._hopeless: UserError | None = None

    @property
    def is_running(self) -> bool:
        """Whether the engine is up, as far as is known."""
        return self._is_running

    async def ensure_running(self) -> int:
        """Return the number of the running engine, started now if need be.

        Raises:
            UserError: if it does not start. Found once, that is not tried again for every call in flight.
        """
        async with self._lock:
            if self._hopeless is not None:
                raise self._hopeless
            if not self._is_running:
                try:
                    await self._start()
                except UserError as error:
                    self._hopeless = error
                    raise
                self._is_running = True
                self._generation += 1
            return self._generation

    async def discard(self, generation: int) -> bool:
        """Stop the engine that a call was lost with, and return whether no other call has already done so."""
        async with self._lock:
            is_first = self._is_running and self._generation == generation
            if is_first:
                self._is_running = False
                self._num_losses_in_a_row += 1
                logger.warning("engine %d is lost", generation)
                await self._engine.stop()
            return is_first

    def give_up(self, error: UserError) -> None:
        """Start the engine no more: whoever wants it running is told why not."""
        self._hopeless = error

    def record_success(self) -> None:
        """Note an answer: the losses before it were no series."""
        self._num_losses_in_a_row = 0

    async def _start(self) -> None:
        for num_failures in range(self._max_retries + 1):
            await self._backoff.pause(self._num_losses_in_a_row + num_failures)
            try:
                return await self._engine.start()
            except EngineDiedError as death:
                logger.warning("the engine did not start: %s", death)
                await self._engine.stop()
                last = death
        raise DidNotStartError(f"the engine did not start in {self._max_retries + 1} tries: {last}")
