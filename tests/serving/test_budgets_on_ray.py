"""The keeper of budgets as Ray runs it: its death, that of its deployment, and a new one in its place lose no spend."""

import asyncio
import os
import signal
import time
from uuid import uuid4

import pytest
import ray
from ray import serve

from eshop_ray.serving.application import HEAD_NODE
from eshop_ray.serving.budget_actor import BudgetDeployment, RemoteBudgets
from eshop_ray.serving.budgets import Denial, Grant
from eshop_ray.serving.keys import make_key
from eshop_ray.serving.ledger import Ledger, day_of
from tests.processes import find_processes
from tests.serving.double import find_actor
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

APP = "books"
DAY = 100_000
KEY = make_key("a", tokens_per_day=DAY)[1]
ADVANCE = DAY // 100


def deploy(folder, seconds=60.0):
    light = {"num_cpus": 0, "resources": HEAD_NODE}
    app = serve.deployment(BudgetDeployment, name="Budgets", ray_actor_options=light).bind(str(folder), seconds, light)
    return serve.run(app, name=APP, route_prefix=None)


@pytest.fixture
def budgets(ray_session, tmp_path):  # noqa: ARG001
    yield RemoteBudgets(deploy(tmp_path))
    serve.shutdown()


def find_keeper():
    return find_processes(os.getpid(), "ray::BudgetActor")


async def spend(budgets, times, most=300, cost=100):
    """Ask that often, at first in vain if nobody keeps the books; return what was spent."""
    for _ in range(times):
        deadline = time.monotonic() + 60
        while True:
            try:
                grant = await budgets.reserve(KEY, most, uuid4().hex)
                break
            except ray.exceptions.RayError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        assert isinstance(grant, Grant), grant
        await budgets.settle(grant.reservation, cost)
    return times * cost


def read_ledger(folder):
    """Return what is noted of the key; whoever keeps the books has to be gone."""
    ledger = Ledger(folder)
    try:
        return ledger.open(day_of(time.time())).get("a", 0)
    finally:
        ledger.close()


def test_no_death_forgets_what_was_spent_and_an_end_in_order_notes_it_to_the_token(budgets, tmp_path):
    async def run():  # in one loop, as a gateway has
        spent = await spend(budgets, 20)
        (keeper,) = find_keeper()
        os.kill(keeper.pid, signal.SIGKILL)
        spent += await spend(budgets, 20)
        ray.kill(find_actor(f"SERVE_REPLICA::{APP}#Budgets"))
        spent += await spend(budgets, 20)
        assert isinstance(await budgets.reserve(KEY, DAY - spent + 1, "much"), Denial)
        await asyncio.to_thread(deploy, tmp_path, 61.0)  # another version of the deployment
        spent += await spend(budgets, 20)
        await budgets.release()
        return spent

    spent = asyncio.run(run())
    serve.delete(APP)
    wait_until(lambda: not find_keeper(), "the end of the keeper")
    noted = read_ledger(tmp_path)
    # Each death costs up to two advances, a request, and what was set aside for one more; the ends in order nothing.
    assert spent <= noted <= spent + 2 * (2 * ADVANCE + 600)


def test_200_requests_at_a_time_get_no_token_more_than_there_is(budgets):
    async def ask():
        verdicts = await asyncio.gather(*(budgets.reserve(KEY, 900, str(number)) for number in range(200)))
        return [verdict for verdict in verdicts if isinstance(verdict, Grant)]

    assert len(asyncio.run(ask())) == DAY // 900
