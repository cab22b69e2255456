"""Asking the model within the budget of a key: reserve, ask, settle, whatever becomes of the request."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import uuid4

from eshop_ray.inference.requests import Answer, ApiAnswer, Failure
from eshop_ray.serving.budgets import BudgetKeeper, Denial, Grant
from eshop_ray.serving.calls import Call, Model, Piece, Size, measure_size
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.usage import Cost
from eshop_ray.serving.visits import Visit

logger = logging.getLogger(__name__)

DENIALS = {
    "requests": ("more requests in a minute than this key may send", "rate_limit_exceeded"),
    "tokens": ("the tokens that this key may use in a day are spent, or set aside for its other requests", "quota"),
    "too_large": ("the request could use more tokens than this key may in a whole day; lower `max_tokens`", "quota"),
}
"""Reason -> message and code."""


class DeniedError(RefusalError):
    """A limit of a key is reached."""

    def __init__(self, denial: Denial) -> None:
        message, code = DENIALS[denial.reason]
        super().__init__(429, message, code, retry_after=denial.retry_after)
        self.denial = denial


@dataclass(slots=True)
class MeteredModel:
    """The model, as keys with budgets may ask it."""

    model: Model
    budgets: BudgetKeeper
    facts: LatestFacts
    """Of the model."""
    _settling: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, visit: Visit, call: Call, cost: Cost) -> AsyncIterator[Piece]:
        """Yield what the model answers.

        Args:
            visit: Whose request it is; what it costs is added there in the end.
            call: What is asked.
            cost: Follows what whole answers cost; of a stream whoever reads it has to follow it.

        Raises:
            RefusalError: if the key may not ask it, or the model not answer.
        """
        size = measure_size(call)
        cost.num_answers = size.num_answers
        reservation, most = None, 0
        if visit.key is not None and visit.key.is_limited:
            reservation, most = await self._reserve(visit.key, call, size)
        try:
            async with aclosing(self.model.ask(call, visit.request_id)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    if visit.first_token_seconds is None and isinstance(piece, list):
                        visit.first_token_seconds = visit.seconds
                    count_whole(piece, cost)
                    yield piece
        except RefusalError:  # it was not asked, or it broke: nobody pays for that
            cost.is_final = True
            raise
        finally:
            visit.num_read += cost.num_read
            visit.num_written += cost.num_written
            if reservation is not None:
                self._settle_later(reservation, cost.estimate(size.num_prompts, most))

    async def admit(self, visit: Visit) -> None:
        """Count a request that costs no tokens.

        Raises:
            RefusalError: if its key may send no more of them now.
        """
        if visit.key is not None and visit.key.is_limited:
            self._settle_later(_get_granted(await self._keep(visit.key, 0)), 0)

    async def finish(self) -> None:
        """Wait until all that is over is settled."""
        await asyncio.gather(*self._settling)
        try:
            await self.budgets.release()
        except Exception as error:  # it then counts with the most that it could cost
            logger.error("budgets cannot be asked: %s", type(error).__name__)

    async def _reserve(self, key: ApiKey, call: Call, size: Size) -> tuple[str, int]:
        """Set aside what a call can cost: by the context at first, and by its very prompt where that is too much."""
        context = (await self.facts.find_largest()).context
        most = size.count_most(context)
        verdict = await self._keep(key, most)
        if isinstance(verdict, Denial) and verdict.reason != "requests":
            num_tokens = await self.model.measure(call)
            if num_tokens is not None:
                most = min(most, size.count_most_after(num_tokens, context))
                verdict = await self._keep(key, most)
        return _get_granted(verdict), most

    async def _keep(self, key: ApiKey, most: int) -> Grant | Denial:
        reservation = uuid4().hex
        try:
            return await self.budgets.reserve(key, most, reservation)
        except asyncio.CancelledError:  # nobody waits any more, and what was granted all the same is given back
            self._settle_later(reservation, 0)
            raise
        except Exception as error:  # whoever keeps the books is being started anew: until then nothing is spent
            self._settle_later(reservation, 0)
            logger.error("budgets cannot be asked: %s", type(error).__name__)
            raise RefusalError(
                503, "budgets cannot be looked at now; try again", "unavailable", retry_after=5
            ) from error

    def _settle_later(self, reservation: str, tokens: int) -> None:
        """Settle in a task of its own: the request's may be ending by force."""
        task = asyncio.create_task(self._settle(reservation, tokens))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, reservation: str, tokens: int) -> None:
        try:
            await self.budgets.settle(reservation, tokens)
        except Exception as error:  # it then counts with the most that it could cost
            logger.error("a request cannot be settled: %s", type(error).__name__)


def _get_granted(verdict: Grant | Denial) -> str:
    if isinstance(verdict, Grant):
        return verdict.reservation
    raise DeniedError(verdict)


def count_whole(piece: Piece, cost: Cost) -> None:
    """Take over what an answer cost that came whole."""
    if isinstance(piece, ApiAnswer | Answer):
        cost.add_usage({"prompt_tokens": piece.num_input_tokens, "completion_tokens": piece.num_generated_tokens})
    elif isinstance(piece, Failure):
        cost.is_final = True
