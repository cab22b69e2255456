"""Who may talk to an engine at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class SharedLock:
    """Lets calls through together, or one alone; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._num_inside = 0
        self._num_waiting_alone = 0
        self._is_alone = False
        self._changed = asyncio.Condition()

    @property
    def is_open(self) -> bool:
        """Whether a call would be let through together with others at once."""
        return not self._is_alone and not self._num_waiting_alone

    async def opened(self) -> None:
        """Return when the gate is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_open)

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the engine, with others inside."""
        await self._enter(lambda: self.is_open)
        try:
            yield
        finally:
            await self._leave()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the engine, with nobody else inside."""
        self._num_waiting_alone += 1
        try:
            await self._enter(lambda: self._num_inside == 0)
        finally:
            self._num_waiting_alone -= 1
        self._is_alone = True
        try:
            yield
        finally:
            self._is_alone = False
            await self._leave()

    async def _enter(self, is_free: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(is_free)
            self._num_inside += 1

    async def _leave(self) -> None:
        async with self._changed:
            self._num_inside -= 1
            self._changed.notify_all()
