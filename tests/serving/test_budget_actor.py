"""How gateways ask the keeper of budgets: once for a request, and the next keeper where one has died."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from eshop_ray.serving.budget_actor import BudgetActor, RemoteBudgets
from eshop_ray.serving.budgets import Grant
from eshop_ray.serving.keys import make_key

KEY = make_key("a", tokens_per_day=1000)[1]


class Remote:
    """A keeper as its handle shows it, which counts calls."""

    def __init__(self, folder):
        self._keeper = BudgetActor(str(folder), 60.0)
        self.calls = []
        self.is_dead = False

    @property
    def spent(self):
        return self._keeper._budgets.read_spent().get("a", 0)

    def end(self):
        self.is_dead = True
        self._keeper._budgets.close()

    def __getattr__(self, name):
        async def call(*arguments):
            self.calls.append(name)
            if self.is_dead:
                raise ActorDiedError
            return await getattr(self._keeper, name)(*arguments)

        return SimpleNamespace(remote=call)


def budgets_of(there):
    """Return what a gateway asks; the last keeper in the list is the one that there is."""

    async def find():
        return there[-1]

    return RemoteBudgets(SimpleNamespace(find=SimpleNamespace(remote=find)))


def test_a_client_that_asks_again_and_again_costs_one_call_a_request(tmp_path):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        settling = []
        for _ in range(20):
            grant = await budgets.reserve(KEY, 860)  # there is not room for two: the one before has to be settled
            assert isinstance(grant, Grant)
            settling.append(asyncio.create_task(budgets.settle(grant.reservation, 7)))
            await asyncio.sleep(0)
        await asyncio.gather(*settling)

    asyncio.run(run())
    assert keeper.spent == 140
    assert keeper.calls == ["reserve"] * 20 + ["settle"]


def test_the_next_keeper_is_asked_where_one_has_died(tmp_path):
    there = [Remote(tmp_path)]
    budgets = budgets_of(there)

    async def run():
        held = await budgets.reserve(KEY, 100)
        await budgets.settle(held.reservation, 40)
        there[-1].end()
        there.append(Remote(tmp_path))
        assert isinstance(await budgets.reserve(KEY, 100), Grant)

    asyncio.run(run())
    assert there[-1].spent == 40


def test_what_was_spent_is_told_again_where_nobody_kept_the_books(tmp_path):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        held = await budgets.reserve(KEY, 100)
        settling = asyncio.create_task(budgets.settle(held.reservation, 40))
        await asyncio.sleep(0)
        keeper.is_dead = True
        with pytest.raises(ActorDiedError):
            await budgets.reserve(KEY, 100)
        keeper.is_dead = False
        await settling

    asyncio.run(run())
    assert keeper.spent == 40
