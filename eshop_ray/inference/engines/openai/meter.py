"""One per run: all its engines ask here before each request, and tell here what it came to."""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from eshop_ray.config import OpenaiSection
from eshop_ray.inference.engines.openai.chat_request import Size
from eshop_ray.inference.engines.openai.chat_response import Usage
from eshop_ray.inference.engines.openai.ledger import Ledger
from eshop_ray.inference.engines.openai.pace import Pace
from eshop_ray.inference.engines.openai.spending import Decision, Prices, Spending

ADVANCE_SHARE = 0.01
"""Of the limit that is written down as spent before it is: a killed run has lost no more, and never spends it twice."""
SAVE_SECONDS = 5.0
"""Between notes of what was spent where there is no limit."""


@dataclass(frozen=True, slots=True)
class Account:
    """What was spent and counted, and why the job has to end, if it has."""

    counts: Counter[str]
    cost: float
    end: str | None = None
    is_budget_spent: bool = False


class Meter:
    """Holds back requests that are too early, and refuses those that could cost too much; an actor of Ray."""

    def __init__(self, config: OpenaiSection, ledger: Ledger, has_answered: bool = False) -> None:
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self._prices = Prices.of(config)
        self._ledger = ledger
        spent, self._counts = ledger.read()
        self._spending = Spending(config.max_cost, spent)
        self._noted = spent
        self._answered_before = has_answered
        self._saved = time.monotonic()
        self._paused_until = 0.0
        self._end: str | None = None
        self._is_budget_spent = False
        self._changed = asyncio.Condition()
        self._ended = asyncio.Event()

    async def has_answered(self) -> bool:
        """Return whether the endpoint is known to answer such requests, from this run or one before it."""
        return self._answered_before or self._counts["num_answers"] > 0

    async def admit(self, size: Size) -> str | None:
        """Return when a request may be sent; else why none may be any more."""
        most = self._prices.price_most(size)
        async with self._changed:
            while self._end is None and (decision := self._spending.reserve(most)) is not Decision.GO:
                if decision is Decision.STOP:
                    self._stop(self._word_limit(most), is_budget=True)
                else:
                    await self._changed.wait()
            if self._end is not None:
                return self._end
            self._note_advance()
        await self._wait_for_turn(size)
        if self._end is not None:
            await self.settle(size, None)
        return self._end

    async def settle(self, size: Size, usage: Usage | None, is_charged: bool = False, is_answer: bool = False) -> None:
        """Note what a request came to that was admitted.

        Args:
            size: What it was admitted with.
            usage: What the endpoint counted.
            is_charged: Whether, without that, it may be charged: then the most that it can cost counts.
            is_answer: Whether it brought an answer.
        """
        counted = usage or Usage(size.num_read, 0, size.num_written or 0)
        cost = self._prices.price(counted) if usage or is_charged else 0.0
        self._counts.update(num_requests=1, num_answers=int(is_answer), num_uncounted=int(is_charged and not usage))
        if usage:
            self._counts.update(
                num_input_tokens=usage.num_read,
                num_cached_tokens=usage.num_cached,
                num_generated_tokens=usage.num_written,
            )
            self._pace.correct(size.num_expected, usage.num_read + usage.num_written)
        async with self._changed:
            self._spending.settle(self._prices.price_most(size), cost)
            self._changed.notify_all()
        if self._spending.limit is None and time.monotonic() - self._saved > SAVE_SECONDS:
            self._saved = time.monotonic()
            self._ledger.write(self._spending.spent, self._counts)

    async def pause(self, seconds: float) -> None:
        """Leave the endpoint alone for so long."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        self._pace.pause(self._paused_until)

    async def stop(self, reason: str) -> None:
        """Let no request out any more."""
        async with self._changed:
            self._stop(reason, is_budget=False)

    async def close(self) -> Account:
        """Write down what was spent, and return it."""
        self._ledger.write(self._spending.spent, self._counts)
        return Account(self._counts, self._spending.spent, self._end, self._is_budget_spent)

    def _stop(self, reason: str, is_budget: bool) -> None:
        if self._end is None:
            self._end, self._is_budget_spent = reason, is_budget
            self._ended.set()
        self._changed.notify_all()

    async def _wait_for_turn(self, size: Size) -> None:
        start = self._pace.book(time.monotonic(), size.num_expected)
        while self._end is None:
            if start < self._paused_until:  # whoever waited for a turn in the pause needs another one
                start = self._pace.book(self._paused_until + random.uniform(0, 1), size.num_expected)
            if (left := start - time.monotonic()) <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._ended.wait()

    def _note_advance(self) -> None:
        limit, spending = self._spending.limit, self._spending
        committed = spending.spent + spending.reserved
        if limit is not None and committed > self._noted:
            self._noted = min(limit, committed + ADVANCE_SHARE * limit)
            self._ledger.write(self._noted, self._counts)

    def _word_limit(self, most: float) -> str:
        return (
            f"{self._spending.spent:.4g} of `openai.max_cost` {self._spending.limit:g} is spent, and the next request "
            f"may cost {most:.2g}"
        )


def describe(account: Account) -> dict[str, Any]:
    """Return an account as a manifest has it."""
    return {**account.counts, "cost": round(account.cost, 6)}
