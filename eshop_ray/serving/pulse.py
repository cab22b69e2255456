"""Whether an engine generates, as Ray Serve asks it: an engine that hangs is up, and says so, for ever."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
"""For which a token that anybody got tells enough: a busy engine is not asked for one more."""
TOKEN_SECONDS = 25.0
"""That one token may take; below Ray Serve's `health_check_timeout_s`, so that no question is left behind."""


class Pulse:
    """Remembers when the last token came, and has one generated where that is too long ago."""

    def __init__(self, generate: Callable[[], Awaitable[None]], seconds: float = TOKEN_SECONDS) -> None:
        """Nothing has come yet.

        Args:
            generate: Has the engine generate a token, and raises where none comes.
            seconds: That it may take.
        """
        self._generate, self._seconds = generate, seconds
        self._beat = float("-inf")

    def beat(self) -> None:
        """Note that a token came."""
        self._beat = time.monotonic()

    async def check(self) -> None:
        """Return if the engine generates.

        Raises:
            TimeoutError: if no token comes in time.
        """
        if time.monotonic() - self._beat < FRESH_SECONDS:
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                await self._generate()
        except TimeoutError:
            if self._beat > began:  # it answers others
                return
            logger.error("no token within %g seconds", self._seconds)
            raise
        self.beat()
