"""The keeper of budgets on Ray: an actor that all gateways ask, held by a deployment that Ray Serve keeps alive.

A handle of Ray Serve would choose a replica for each call and take several times as long. A key that sends one request
after the other does not wait for it either: something is set aside for its next request while the last one is answered.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.actor import exit_actor
from ray.exceptions import RayActorError, RayError
from ray.serve.handle import DeploymentHandle

from eshop_ray.serving.budgets import AHEAD_SECONDS, Budgets, Denial, Grant
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.ledger import Ledger
from eshop_ray.serving.take_over import take_over

SETTLE_SECONDS = 0.02
"""That a settlement waits for a request which takes it along."""

CLOSE_SECONDS = 10.0

REST_SECONDS = 10.0
"""For which nothing is set aside ahead for a key that has no room for that."""

Settled = Mapping[str, int | None]
"""Reservation -> tokens; None for one that was set aside ahead and did not come."""


class BudgetActor:
    """Keeps the books of all gateways. There is one at a time: a new one waits until the ledger is free."""

    def __init__(self, ledger_dir: str, request_seconds: float) -> None:
        self._budgets = Budgets(Ledger(Path(ledger_dir)), request_seconds)
        take_over(self._budgets.open)

    async def check(self) -> None:
        """Return once the books are open."""

    async def reserve(self, key: ApiKey, tokens: int, reservation: str, settled: Settled) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not; what others have cost is noted before."""
        await self.settle(settled)
        return await self._budgets.reserve(key, tokens, reservation)

    async def reserve_ahead(self, key: ApiKey, tokens: int, reservation: str, settled: Settled) -> bool:
        """Set aside for the key's next request, and return whether that was done; see `Budgets.reserve_ahead`."""
        await self.settle(settled)
        return await self._budgets.reserve_ahead(key, tokens, reservation)

    async def settle(self, settled: Settled) -> None:
        """Note what requests have cost."""
        for reservation, tokens in settled.items():
            if tokens is None:
                await self._budgets.give_back(reservation)
            else:
                await self._budgets.settle(reservation, tokens)

    async def close(self) -> None:
        """Note what was spent to the token, and end: whoever asks after that is told so, and finds the next keeper."""
        try:
            self._budgets.close()
        finally:
            exit_actor()


class BudgetDeployment:
    """Has the keeper of budgets, which ends with it; a keeper that dies is started anew by Ray."""

    async def __init__(  # type: ignore[misc]  # Ray Serve's
        self, ledger_dir: str, request_seconds: float, actor_options: Mapping[str, Any]
    ) -> None:
        keeper = ray.remote(BudgetActor).options(max_restarts=-1, **actor_options)
        self._actor = keeper.remote(ledger_dir, request_seconds)
        await self._actor.check.remote()

    async def find(self) -> Any:
        """Return the keeper."""
        return self._actor

    async def check_health(self) -> None:
        """Fail where there is no keeper: Ray Serve then replaces this deployment."""
        await self._actor.check.remote()

    async def __del__(self) -> None:
        """Close the books; Ray Serve calls this before it ends a replica."""
        with suppress(Exception):
            await asyncio.wait_for(self._actor.close.remote(), CLOSE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What is set aside for a request that has not come yet."""

    key: ApiKey
    tokens: int
    reservation: str
    until: float

    def serves(self, key: ApiKey, tokens: int) -> bool:
        """Whether a request may have it."""
        return self.key == key and tokens <= self.tokens and time.monotonic() < self.until


class RemoteBudgets:
    """The keeper of budgets, as a gateway asks it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._actor: Any = None
        self._finding = asyncio.Lock()
        self._settled: dict[str, int | None] = {}
        self._ahead: dict[str, _Ahead] = {}
        """By key."""
        self._preparing: set[str] = set()
        self._looked: dict[str, float] = {}
        """Key -> when it last asked; later than now: when something may be set aside ahead for it again."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def reserve(self, key: ApiKey, tokens: int, reservation: str) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not; what was set aside ahead is taken where it does.

        Raises:
            RayError: if nobody keeps the books now.
        """
        ahead = self._ahead.pop(key.id, None)
        if ahead and ahead.serves(key, tokens):
            self._look_ahead(key, tokens)
            return Grant(ahead.reservation)
        if ahead:
            self._settled[ahead.reservation] = None
        with self._telling() as settled:
            verdict: Grant | Denial = await self._call("reserve", key, tokens, reservation, settled)
        if isinstance(verdict, Grant):
            self._look_ahead(key, tokens)
        return verdict

    def _look_ahead(self, key: ApiKey, tokens: int) -> None:
        """Have something set aside for the key's next request, if it asks one after the other."""
        now, last = time.monotonic(), self._looked.get(key.id, -AHEAD_SECONDS)
        self._looked[key.id] = max(now, last)
        if 0 <= now - last < AHEAD_SECONDS and key.id not in self._ahead and key.id not in self._preparing:
            self._preparing.add(key.id)
            self._begin(self._reserve_ahead(key, tokens))

    async def _reserve_ahead(self, key: ApiKey, tokens: int) -> None:
        ahead = _Ahead(key, tokens, uuid4().hex, time.monotonic() + AHEAD_SECONDS)
        try:
            with self._telling() as settled:
                is_done = await self._call("reserve_ahead", key, tokens, ahead.reservation, settled)
        except BaseException:  # it may have been done all the same
            self._settled[ahead.reservation] = None
            raise
        finally:
            self._preparing.discard(key.id)
        if not is_done:
            self._looked[key.id] = time.monotonic() + REST_SECONDS
            return
        self._ahead[key.id] = ahead
        await asyncio.sleep(ahead.until - time.monotonic())
        if self._ahead.get(key.id) is ahead:
            del self._ahead[key.id]
            self._settled[ahead.reservation] = None
            await self._tell()

    async def release(self) -> None:
        """Give back what was set aside ahead.

        Raises:
            RayError: if nobody keeps the books now.
        """
        self._settled |= dict.fromkeys(ahead.reservation for ahead in self._ahead.values())
        self._ahead.clear()
        await self._tell()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            with suppress(RayError):  # the next request will say so
                await work

        task = asyncio.create_task(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, reservation: str, tokens: int) -> None:
        """Note what a request has cost, in place of what was set aside; the next request tells the keeper, or a timer.

        Raises:
            RayError: if nobody keeps the books now; the next request tells it then.
        """
        self._settled[reservation] = tokens
        await asyncio.sleep(SETTLE_SECONDS)
        await self._tell()

    async def _tell(self) -> None:
        with self._telling() as settled:
            if settled:
                await self._call("settle", settled)

    @contextmanager
    def _telling(self) -> Iterator[dict[str, int | None]]:
        """Yield what is to be told of requests that are over; it is told again unless that goes well."""
        settled, self._settled = self._settled, {}
        try:
            yield settled
        except BaseException:
            self._settled = {**settled, **self._settled}
            raise

    async def _call(self, method: str, *arguments: Any) -> Any:
        """Ask the keeper, and once more where another one has taken over, or where that cannot be told.

        The one that was asked may have done all of it: what it is asked counts once, however often that is.
        """
        keeper = await self._find()
        try:
            return await getattr(keeper, method).remote(*arguments)
        except RayActorError:
            keeper = await self._find(instead_of=keeper)
        return await getattr(keeper, method).remote(*arguments)

    async def _find(self, instead_of: Any = None) -> Any:
        """Return the keeper; many that ask at a time look for it once."""
        async with self._finding:
            if self._actor is instead_of:
                self._actor = await self._handle.find.remote()
        return self._actor
