"""Whether an engine generates, as Ray Serve asks it: an engine that hangs is up, and says so, for ever."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from eshop_ray.inference.requests import Answer, ApiAnswer
from eshop_ray.serving.calls import Piece
from eshop_ray.serving.usage import EVENT_START, LAST_EVENT

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
"""For which a token that anybody got tells enough: a busy engine is not asked for one more."""
FIRST_TOKEN_SECONDS = 600.0
"""That the first one may take: a machine that is busy starting engines is slow."""
TOKEN_SECONDS = 55.0
"""That any later one may take; below Ray Serve's `health_check_timeout_s`, so that no question is left behind."""

NO_TOKEN = (f'{EVENT_START}{{"error"', f"{EVENT_START}{LAST_EVENT}")
"""How events begin that an engine that hangs can have too."""


def has_token(piece: Piece) -> bool:
    """Return whether an engine has generated for a piece of an answer: to refuse a request it need not."""
    if isinstance(piece, list):
        return any(not event.startswith(NO_TOKEN) for event in piece)
    return isinstance(piece, Answer) or (isinstance(piece, ApiAnswer) and piece.status < 400)


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

    def follow(self, piece: Piece) -> None:
        """Note that somebody got a piece of an answer."""
        if has_token(piece):
            self.beat()

    def beat(self) -> None:
        """Note that a token came."""
        self._beat = time.monotonic()

    async def check(self) -> None:
        """Return if the engine generates.

        Raises:
            TimeoutError: if no token comes in time, or what the engine says when it is told to stop.
        """
        if time.monotonic() - self._beat < FRESH_SECONDS:
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(FIRST_TOKEN_SECONDS if self._beat < 0 else self._seconds):
                await self._generate()
        except Exception as error:
            if self._beat > began:  # it answers others
                return
            logger.error("no token after %.0f seconds: %s", time.monotonic() - began, type(error).__name__)
            raise
        self.beat()
