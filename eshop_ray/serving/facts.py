"""What the model is, by what its replicas say: while a new version takes the place of another, they differ."""

import asyncio
import time
from collections.abc import Callable

from eshop_ray.serving.calls import Model, ModelFacts
from eshop_ray.serving.errors import RefusalError

FRESH_SECONDS = 10.0
"""After which a replica is asked again; only while requests come, for who only looks is not to wake a model."""
STALE_SECONDS = 60.0
"""After which a request waits for what the replica says; in between it does not, for a busy one takes its time."""
WAIT_SECONDS = 5.0
"""That it waits at most."""
REPLACED_SECONDS = 600.0
"""For which a replica that has said something may still be there."""


class LatestFacts:
    """Asks now and then; many who want to know at a time share one answer."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            model: That is asked.
            clock: Of seconds.
        """
        self._model, self._clock = model, clock
        self._newest: ModelFacts | None = None
        self._heard: dict[int, float] = {}
        """Context -> when a replica last said that it has it."""
        self._asking: asyncio.Task[None] | None = None

    @property
    def newest(self) -> ModelFacts | None:
        """What the replica said that was asked last; None: nobody was asked yet."""
        return self._newest

    async def ask(self) -> ModelFacts:
        """Ask a replica; this waits until there is one.

        Raises:
            RefusalError: if it cannot be asked.
        """
        facts = await self._model.describe()
        self._newest = facts
        self._heard[facts.context] = self._clock()
        return facts

    async def find_largest(self) -> ModelFacts:
        """Return what to set tokens aside by: the longest context of those that a request may meet.

        Raises:
            RefusalError: if nobody can be asked who never was.
        """
        if self._newest is None:
            return await self.ask()
        age = self._clock() - self._heard[self._newest.context]
        if age > FRESH_SECONDS:
            asking = self._ask_again()
            if age > STALE_SECONDS:
                await asyncio.wait({asking}, timeout=WAIT_SECONDS)
        oldest = self._clock() - REPLACED_SECONDS
        self._heard = {
            context: heard
            for context, heard in self._heard.items()
            if heard > oldest or context == self._newest.context
        }
        return ModelFacts(max(self._heard))

    def _ask_again(self) -> "asyncio.Task[None]":
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._try())
        return self._asking

    async def _try(self) -> None:
        try:
            await self.ask()
        except RefusalError:
            return  # the request is going to be told so itself
