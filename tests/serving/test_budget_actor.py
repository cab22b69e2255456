"""How gateways ask the keeper of budgets: once for a request, and the next keeper where one has died."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from eshop_ray.serving import budget_actor
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

    @property
    def set_aside(self):
        return self._keeper._budgets._accounts["a"].reserved

    @property
    def num_requests(self):
        return len(self._keeper._budgets._requests["a"])

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
            # There is not room for two: the one before has to be settled.
            grant = await budgets.reserve(KEY, 860, str(number))
            assert isinstance(grant, Grant)
            settling.append(asyncio.create_task(budgets.settle(grant.reservation, 7)))
            await asyncio.sleep(0)
        await asyncio.gather(*settling)

    asyncio.run(run())
    assert keeper.spent == 140
    assert sorted(keeper.calls) == ["reserve"] * 20 + ["reserve_ahead"] + ["settle"]


RICH = make_key("a", tokens_per_day=100_000, requests_per_minute=100)[1]


def ask_in_turn(budgets, number, tokens=100, pause=0.01):
    """Ask one request after the other, each of which costs 7, with time between them for what is done ahead."""

    async def run():
        for place in range(number):
            grant = await budgets.reserve(RICH, tokens, f"r{place}")
            assert isinstance(grant, Grant)
            await asyncio.sleep(pause)
            settling = asyncio.create_task(budgets.settle(grant.reservation, 7))
            await asyncio.sleep(0)
        await settling
        await budgets.release()

    asyncio.run(run())


def test_a_key_that_asks_in_turn_waits_for_the_keeper_only_at_first(tmp_path):
    keeper = Remote(tmp_path)
    ask_in_turn(budgets_of([keeper]), 20)
    assert keeper.calls.count("reserve") == 2
    assert keeper.spent == 140
    assert keeper.set_aside == 0
    assert keeper.num_requests == 20


def test_what_was_set_aside_ahead_and_did_not_come_counts_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(budget_actor, "AHEAD_SECONDS", 0.1)
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        for name in "ab":
            await budgets.settle((await budgets.reserve(RICH, 100, name)).reservation, 7)
        assert keeper.set_aside == 100
        assert keeper.num_requests == 3
        await asyncio.sleep(0.3)

    asyncio.run(run())
    assert (keeper.set_aside, keeper.spent, keeper.num_requests) == (0, 14, 2)


def test_a_larger_request_or_one_of_other_limits_takes_nothing_that_was_set_aside(tmp_path):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])
    other = RICH.model_copy(update={"tokens_per_day": 150})

    async def run():
        for name in "ab":
            await budgets.reserve(RICH, 50, name)
        await asyncio.sleep(0.01)
        assert keeper.set_aside == 150
        assert (await budgets.reserve(RICH, 60, "c")).reservation == "c"
        await asyncio.sleep(0.01)
        assert keeper.set_aside == 220
        assert (await budgets.reserve(other, 50, "d")).reason == "tokens"
        assert keeper.set_aside == 160

    asyncio.run(run())


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
    assert keeper.calls.count("reserve") == 3


@pytest.mark.parametrize("is_told", [True, False], ids=["and its answer was lost", "and it was not asked"])
def test_what_a_timer_could_not_tell_the_next_request_tells(tmp_path, is_told):
    keeper = Remote(tmp_path)
    budgets = budgets_of([keeper])

    async def run():
        for name in ("a", "b"):
            await budgets.reserve(KEY, 500, name)
        await asyncio.sleep(0.01)  # for what there is no room to set aside ahead
        keeper.num_lost, keeper.is_dead = (2, False) if is_told else (0, True)
        told = await asyncio.gather(budgets.settle("a", 30), budgets.settle("b", 10), return_exceptions=True)
        assert [type(error) for error in told] != [type(None)] * 2
        keeper.num_lost, keeper.is_dead = 0, False
        assert isinstance(await budgets.reserve(KEY, 960, "c"), Grant)

    asyncio.run(run())
    assert keeper.spent == 40
