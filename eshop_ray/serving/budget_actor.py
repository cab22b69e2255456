"""The keeper of budgets on Ray: an actor that all gateways ask, held by a deployment that Ray Serve keeps alive.

Each request asks it. A handle of Ray Serve would choose a replica for each call and take several times as long.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.actor import exit_actor
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from eshop_ray.errors import UserError
from eshop_ray.serving.budgets import Budgets, Denial, Grant
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.ledger import Ledger

TAKE_OVER_SECONDS = 120.0
"""That a new keeper of budgets waits for the end of the one before it."""

SETTLE_SECONDS = 0.02
"""That a settlement waits for a request which takes it along."""

CLOSE_SECONDS = 10.0


class BudgetActor:
    """Keeps the books of all gateways. There is one at a time: a new one waits until the ledger is free."""

    def __init__(self, ledger_dir: str, request_seconds: float) -> None:
        self._budgets = Budgets(Ledger(Path(ledger_dir)), request_seconds)
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            try:
                return self._budgets.open()
            except UserError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)

    async def check(self) -> None:
        """Return once the books are open."""

    async def reserve(self, key: ApiKey, tokens: int, reservation: str, settled: Mapping[str, int]) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not; what others have cost is noted before."""
        await self.settle(settled)
        return await self._budgets.reserve(key, tokens, reservation)

    async def settle(self, settled: Mapping[str, int]) -> None:
        """Note what requests have cost: reservation -> tokens."""
        for reservation, tokens in settled.items():
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


class RemoteBudgets:
    """The keeper of budgets, as a gateway asks it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._actor: Any = None
        self._finding = asyncio.Lock()
        self._settled: dict[str, int] = {}

    async def reserve(self, key: ApiKey, tokens: int, reservation: str) -> Grant | Denial:
        """Set aside the most that a request can cost, or say why not.

        Raises:
            RayError: if nobody keeps the books now.
        """
        with self._telling() as settled:
            verdict: Grant | Denial = await self._call("reserve", key, tokens, reservation, settled)
        return verdict

    async def settle(self, reservation: str, tokens: int) -> None:
        """Note what a request has cost, in place of what was set aside; the next request tells the keeper, or a timer.

        Raises:
            RayError: if nobody keeps the books now; the next request tells it then.
        """
        self._settled[reservation] = tokens
        await asyncio.sleep(SETTLE_SECONDS)
        with self._telling() as settled:
            if settled:
                await self._call("settle", settled)

    @contextmanager
    def _telling(self) -> Iterator[dict[str, int]]:
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
