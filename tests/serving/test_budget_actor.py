"""How gateways ask the keeper of budgets: once for a request, and the next keeper where one has died."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

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
        self.num_lost = 0
        """Of the next answers, that get lost on their way."""

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
            answer = await getattr(self._keeper, name)(*arguments)
            if self.num_lost:
                self.num_lost -= 1
                raise ActorUnavailableError("the network", None)
            return answer

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
        for number in range(20):
            grant = await budgets.reserve(
                KEY, 860, str(number)
            )  # there is not room for two: the one before has to be settled
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
        held = await budgets.reserve(KEY, 100, "a")
        await budgets.settle(held.reservation, 40)
        there[-1].end()
        there.append(Remote(tmp_path))
        assert isinstance(await budgets.reserve(KEY, 100, "b"), Grant)

    asyncio.run(run())
    assert there[-1].spent == 40


def test_what_was_spent_is_told_again_where_nobody_kept_the_books(tmp_path):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        held = await budgets.reserve(KEY, 100, "a")
        settling = asyncio.create_task(budgets.settle(held.reservation, 40))
        await asyncio.sleep(0)
        keeper.is_dead = True
        with pytest.raises(ActorDiedError):
            await budgets.reserve(KEY, 100, "b")
        keeper.is_dead = False
        await settling

    asyncio.run(run())
    assert keeper.spent == 40


def test_a_keeper_that_cannot_be_reached_for_a_moment_sets_aside_once(tmp_path):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        keeper.num_lost = 1
        assert isinstance(await budgets.reserve(KEY, 500, "a"), Grant)
        assert isinstance(await budgets.reserve(KEY, 500, "b"), Grant)  # there is not room for three

    asyncio.run(run())
    assert keeper.calls == ["reserve"] * 3


@pytest.mark.parametrize("is_told", [True, False], ids=["and its answer was lost", "and it was not asked"])
def test_what_a_timer_could_not_tell_the_next_request_tells(tmp_path, is_told):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        for name in ("a", "b"):
            await budgets.reserve(KEY, 500, name)
        keeper.num_lost, keeper.is_dead = (2, False) if is_told else (0, True)
        told = await asyncio.gather(budgets.settle("a", 30), budgets.settle("b", 10), return_exceptions=True)
        assert [type(error) for error in told] != [type(None)] * 2
        keeper.num_lost, keeper.is_dead = 0, False
        assert isinstance(await budgets.reserve(KEY, 960, "c"), Grant)

    asyncio.run(run())
    assert keeper.spent == 40
