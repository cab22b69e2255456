"""Whether the model answers: it does once it has generated a token."""

import asyncio
import logging
import time
from contextlib import aclosing

from eshop_ray.inference.requests import Answer
from eshop_ray.serving.calls import Model, ModelFacts, PromptCall
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.facts import LatestFacts

logger = logging.getLogger(__name__)

PROBE = PromptCall([{"role": "user", "content": "."}], {"temperature": 0.0, "max_tokens": 1})
PROBE_ID = "probe"
PROBE_SECONDS = 10.0
"""A model that does not generate a token in that time is not ready; and one that did counts as ready for as long."""
RETRY_SECONDS = 1.0


class Readiness:
    """Asks for a token now and then; many who want to know at a time share one."""

    def __init__(self, model: Model, facts: LatestFacts, may_sleep: bool = False) -> None:
        """Know nothing yet.

        Args:
            model: That is asked.
            facts: What it is.
            may_sleep: Whether it has no replica while nobody asks it: who only looks is not to wake it.
        """
        self._model, self._facts, self._may_sleep = model, facts, may_sleep
        self._answered = float("-inf")
        self._lock = asyncio.Lock()
        self._is_ending = False

    @property
    def is_up(self) -> bool:
        """Whether it has ever answered; that it will again is for each request to see."""
        return self._answered > float("-inf")

    @property
    def facts(self) -> ModelFacts:
        """What it is, once it is up.

        Raises:
            RefusalError: if it is not yet.
        """
        if not self.is_up or self._facts.newest is None:
            raise RefusalError(503, "the model is being started", "starting", retry_after=RETRY_SECONDS)
        return self._facts.newest

    async def wait(self) -> None:
        """Wait until it is up, however long that takes."""
        while not self.is_up:
            try:
                await self._probe()
            except Exception as error:  # it may come up all the same
                logger.info("the model does not answer yet: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def end(self) -> None:
        """Be ready no more: load balancers are to send requests elsewhere, while the running ones are answered."""
        self._is_ending = True

    async def check(self) -> bool:
        """Return whether it answers, within `PROBE_SECONDS`; of one that may sleep, whether it ever did."""
        if self._is_ending or not self.is_up:
            return False
        if self._may_sleep:
            return True
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._lock:
                if time.monotonic() - self._answered > PROBE_SECONDS:
                    await self._probe()
        except Exception:  # whatever keeps it from answering
            return False
        return True

    async def _probe(self) -> None:
        await self._facts.ask()
        async with aclosing(self._model.ask(PROBE, PROBE_ID)) as pieces:  # type: ignore[type-var]
            piece = await anext(pieces)
        if not isinstance(piece, Answer):
            raise RefusalError(503, "no token was generated")
        self._answered = time.monotonic()
