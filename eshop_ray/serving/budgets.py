"""What each key may still ask: requests in a minute, and tokens of a day by reservation.

Before a request goes to the model, the most that it can cost is set aside; afterwards it is settled with what it cost.
So no number of requests at a time spends more than a budget. One instance decides for all gateways.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eshop_ray.serving.errors import SOON_SECONDS
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.ledger import Ledger, Spent, day_of, seconds_to_next_day

MINUTE = 60.0
ADVANCE_SHARE = 100
"""A hundredth of a budget is noted as spent before it is, so that not every request waits for a disk. A death of the
ledger's writer costs a key up to two of them, and what was under way; tokens that were spent are never forgotten."""
AHEAD_SECONDS = 1.0
"""For which something is set aside for a key's next request, before it comes."""
AHEAD_SHARE = 0.5
"""Of a limit, up to which that is done: nobody is to be refused for a request that does not come."""
GRACE_SECONDS = 60.0
"""Beyond a request's own time, after which one that nobody settled counts with the most it could cost."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A request may go on."""

    reservation: str


@dataclass(frozen=True, slots=True)
class Denial:
    """A request may not go on."""

    reason: Literal["requests", "tokens", "too_large"]
    """`too_large`: it could cost more than a whole day's budget."""
    retry_after: float
    """Seconds."""


class BudgetKeeper(Protocol):
    """Decides on requests of keys that have limits."""

    async def reserve(self, key: ApiKey, tokens: int, reservation: str) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not; asked once more, say the same."""

    async def settle(self, reservation: str, tokens: int) -> None:
        """Note what a request has cost, in place of what was set aside."""

    async def release(self) -> None:
        """Give back what was set aside for requests that have not come."""


@dataclass(slots=True)
class _Account:
    """Of one key on one day, in tokens."""

    spent: int = 0
    reserved: int = 0
    noted: int = 0


@dataclass(frozen=True, slots=True)
class _Reservation:
    account: _Account
    day: str
    key_id: str
    tokens: int
    advance: int | None
    """Tokens that the ledger may be ahead; None for a key without a budget, of which it knows nothing."""
    deadline: float
    counted: float | None
    """When it counts as a request; None for a key that may send any number of them."""


@dataclass(slots=True)
class Budgets:
    """The accounts of all keys. Not safe for threads: one loop calls it."""

    ledger: Ledger
    request_seconds: float
    """How long a request takes at most."""
    clock: Callable[[], float] = time.time
    _day: str = ""
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _reservations: dict[str, _Reservation] = field(default_factory=dict)
    _requests: dict[str, deque[float]] = field(default_factory=dict)

    def open(self) -> None:
        """Go on with the day's books.

        Raises:
            UserError: if another process keeps them.
        """
        self._begin_day(self.clock())

    async def reserve(self, key: ApiKey, tokens: int, reservation: str) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not; a request that is denied counts nowhere.

        Args:
            key: Whose request it is, with the limits that hold now.
            tokens: The most that it can cost.
            reservation: Names what is set aside. Whoever got no verdict asks with the same name again: it counts once.

        Raises:
            OSError: if the ledger cannot be written: then nothing may be spent.
        """
        now, account = self._look(key)
        if reservation in self._reservations:
            return Grant(reservation)
        denial = self._judge_tokens(key, account, tokens, now) or self._judge_requests(key, now)
        if denial:
            return denial
        self._set_aside(key, account, tokens, reservation, now)
        return Grant(reservation)

    async def reserve_ahead(self, key: ApiKey, tokens: int, reservation: str) -> bool:
        """Set aside for the key's next request, which comes within `AHEAD_SECONDS`, and return whether that was done.

        It counts as sent at the end of that time, so that no minute has more than the key may send.
        """
        now, account = self._look(key)
        of_tokens, of_requests = key.tokens_per_day, key.requests_per_minute
        has_tokens = of_tokens is None or account.spent + account.reserved + tokens <= AHEAD_SHARE * of_tokens
        has_requests = of_requests is None or len(self._list_recent(key, now)) < AHEAD_SHARE * of_requests
        if reservation not in self._reservations and has_tokens and has_requests:
            self._set_aside(key, account, tokens, reservation, now + AHEAD_SECONDS)
        return reservation in self._reservations

    async def settle(self, reservation: str, tokens: int) -> None:
        """Note what a request has cost; a second time, or after its time, changes nothing."""
        held = self._reservations.pop(reservation, None)
        if held:
            held.account.reserved -= held.tokens
            held.account.spent += tokens
            self._note_less(held)

    async def give_back(self, reservation: str) -> None:
        """Have what was set aside ahead count for nothing: no request came."""
        held = self._reservations.get(reservation)
        await self.settle(reservation, 0)
        if held and held.counted is not None:
            with suppress(ValueError):  # its minute is over
                self._requests[held.key_id].remove(held.counted)

    async def release(self) -> None:
        """Give back nothing: whoever set something aside ahead gives it back."""

    def _look(self, key: ApiKey) -> tuple[float, _Account]:
        """Return the time and a key's account of the day, in which what is over counts."""
        now = self.clock()
        self._begin_day(now)
        self._expire(now)
        return now, self._accounts.setdefault(key.id, _Account())

    def _set_aside(self, key: ApiKey, account: _Account, tokens: int, reservation: str, at: float) -> None:
        self._note_advance(key, account, tokens)
        account.reserved += tokens
        counted = None if key.requests_per_minute is None else at
        if counted is not None:
            _insert(self._requests[key.id], counted)
        deadline = at + self.request_seconds + GRACE_SECONDS
        self._reservations[reservation] = _Reservation(
            account, self._day, key.id, tokens, _advance_of(key), deadline, counted
        )

    def _note_less(self, held: _Reservation) -> None:
        """Keep what is noted near what is spent: a death is not to cost a key what it once had set aside."""
        if held.advance is None:
            return
        account = held.account
        committed = account.spent + account.reserved
        if not committed <= account.noted <= committed + 2 * held.advance:
            noted = committed + held.advance
            self.ledger.note(held.day, held.key_id, noted)
            account.noted = noted

    def read_spent(self) -> Spent:
        """Return what keys have spent today, without what is set aside."""
        return {name: account.spent for name, account in self._accounts.items()}

    def close(self) -> None:
        """Write down what was spent and what may yet be, and leave the ledger to another process."""
        try:
            for name, account in self._accounts.items():
                committed = account.spent + account.reserved
                if committed != account.noted:
                    self.ledger.note(self._day, name, committed)
        finally:
            self.ledger.close()

    def _begin_day(self, now: float) -> None:
        if (day := day_of(now)) != self._day:
            spent = self.ledger.open(day)
            self._day = day
            self._accounts = {name: _Account(tokens, 0, tokens) for name, tokens in spent.items()}

    def _expire(self, now: float) -> None:
        """Charge requests that nobody settled, the oldest first: their gateway died."""
        for name, held in list(self._reservations.items()):
            if held.deadline > now:
                return
            del self._reservations[name]
            held.account.reserved -= held.tokens
            held.account.spent += held.tokens

    def _judge_tokens(self, key: ApiKey, account: _Account, tokens: int, now: float) -> Denial | None:
        limit = key.tokens_per_day
        if limit is None or account.spent + account.reserved + tokens <= limit:
            return None
        if tokens > limit:
            return Denial("too_large", seconds_to_next_day(now))
        is_spent = account.spent + tokens > limit
        return Denial("tokens", seconds_to_next_day(now) if is_spent else SOON_SECONDS)

    def _list_recent(self, key: ApiKey, now: float) -> deque[float]:
        """Return when a key sent its requests of the last minute."""
        recent = self._requests.setdefault(key.id, deque())
        while recent and recent[0] <= now - MINUTE:
            recent.popleft()
        return recent

    def _judge_requests(self, key: ApiKey, now: float) -> Denial | None:
        recent = self._list_recent(key, now)
        limit = key.requests_per_minute
        if limit is None or len(recent) < limit:
            return None
        return Denial("requests", recent[len(recent) - limit] + MINUTE - now)

    def _note_advance(self, key: ApiKey, account: _Account, tokens: int) -> None:
        committed = account.spent + account.reserved + tokens
        advance = _advance_of(key)
        if advance is not None and committed > account.noted:
            self.ledger.note(self._day, key.id, committed + advance)
            account.noted = committed + advance


def _insert(times: deque[float], time: float) -> None:
    """Put a time where it belongs, near the end."""
    later = []
    while times and times[-1] > time:
        later.append(times.pop())
    times.extend([time, *reversed(later)])


def _advance_of(key: ApiKey) -> int | None:
    return None if key.tokens_per_day is None else key.tokens_per_day // ADVANCE_SHARE
