"""Budgets by reservation: whatever comes at a time, and whoever dies, no key spends more than it may."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from eshop_ray.serving.budgets import Budgets, Denial, Grant
from eshop_ray.serving.calls import ApiCall, PromptCall, Size, measure_size
from eshop_ray.serving.errors import RefusalError, busy_model
from eshop_ray.serving.facts import LatestFacts
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.ledger import Ledger
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.usage import UNSEEN_TOKENS, Cost
from eshop_ray.serving.visits import Visit
from tests.serving.made_model import CHAT, CONTEXT, PROMPT_TOKENS, MadeModel, client_of
from tests.serving.made_model import write as write_event

NOON = 1_800_000_000 // 86_400 * 86_400 + 43_200.0


@dataclass
class Clock:
    now: float = NOON

    def __call__(self):
        return self.now


def key_of(**limits):
    return make_key("a", **limits)[1]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budgets(tmp_path, clock):
    return Budgets(Ledger(tmp_path), 60.0, clock)


def reserve(budgets, key, tokens):
    return asyncio.run(budgets.reserve(key, tokens, uuid4().hex))


def settle(budgets, grant, tokens):
    asyncio.run(budgets.settle(grant.reservation, tokens))


def test_what_is_set_aside_is_not_there_for_others_until_it_is_settled(budgets):
    key = key_of(tokens_per_day=100)
    first = reserve(budgets, key, 60)
    assert reserve(budgets, key, 41) == Denial("tokens", 1.0)
    settle(budgets, first, 20)
    second = reserve(budgets, key, 80)
    assert isinstance(second, Grant)
    settle(budgets, second, 80)
    assert reserve(budgets, key, 1) == Denial("tokens", 43_200.0)
    assert reserve(budgets, key, 101).reason == "too_large"


def test_who_asks_again_with_the_same_name_is_granted_it_once(budgets):
    key = key_of(tokens_per_day=100, requests_per_minute=2)
    for _ in range(3):
        assert asyncio.run(budgets.reserve(key, 60, "a")) == Grant("a")
    assert reserve(budgets, key, 41).reason == "tokens"
    assert isinstance(reserve(budgets, key, 40), Grant)
    assert reserve(budgets, key, 0).reason == "requests"
    settle(budgets, Grant("a"), 10)
    assert budgets.read_spent() == {"a": 10}


def test_the_next_day_brings_a_new_budget_and_an_answer_across_midnight_counts_for_the_old_one(budgets, clock):
    key = key_of(tokens_per_day=100)
    late = reserve(budgets, key, 100)
    clock.now += 43_200
    assert isinstance(reserve(budgets, key, 100), Grant)
    settle(budgets, late, 100)
    assert budgets.read_spent() == {"a": 0}


def test_no_minute_has_more_requests_than_the_key_may_send(budgets, clock):
    key = key_of(requests_per_minute=3)
    assert [type(reserve(budgets, key, 1)) for _ in range(3)] == [Grant] * 3
    clock.now += 59
    assert reserve(budgets, key, 1) == Denial("requests", 1.0)
    clock.now += 1
    assert isinstance(reserve(budgets, key, 1), Grant)


def test_a_request_that_nobody_settles_counts_with_the_most_it_could_cost(budgets, clock):
    key = key_of(tokens_per_day=100)
    lost = reserve(budgets, key, 90)
    clock.now += 121
    assert reserve(budgets, key, 20).reason == "tokens"
    assert budgets.read_spent() == {"a": 90}
    settle(budgets, lost, 5)
    assert budgets.read_spent() == {"a": 90}


def test_an_end_in_order_notes_what_was_spent_to_the_token(tmp_path, budgets, clock):
    key = key_of(tokens_per_day=10_000)
    settle(budgets, reserve(budgets, key, 500), 123)
    budgets.close()
    again = Budgets(Ledger(tmp_path), 60.0, clock)
    reserve(again, key, 1)
    assert again.read_spent() == {"a": 123}


def test_what_is_set_aside_ahead_leaves_half_of_a_limit_to_requests_that_come(budgets):
    key = key_of(tokens_per_day=1000)
    assert asyncio.run(budgets.reserve_ahead(key, 500, "a"))
    assert not asyncio.run(budgets.reserve_ahead(key, 1, "b"))
    assert isinstance(reserve(budgets, key, 500), Grant)
    often = make_key("often", requests_per_minute=4)[1]
    assert [asyncio.run(budgets.reserve_ahead(often, 1, name)) for name in "cde"] == [True, True, False]


def test_a_request_that_was_set_aside_ahead_counts_from_when_it_may_still_come(budgets, clock):
    key = key_of(requests_per_minute=2)
    assert asyncio.run(budgets.reserve_ahead(key, 1, "ahead"))
    assert isinstance(reserve(budgets, key, 1), Grant)
    clock.now += 60.5
    assert isinstance(reserve(budgets, key, 1), Grant)
    assert reserve(budgets, key, 1).reason == "requests"  # the one set aside may have come half a second ago
    clock.now += 0.5
    assert isinstance(reserve(budgets, key, 1), Grant)


def test_what_is_given_back_was_neither_spent_nor_sent(budgets):
    key = key_of(requests_per_minute=2, tokens_per_day=1000)
    assert asyncio.run(budgets.reserve_ahead(key, 400, "ahead"))
    asyncio.run(budgets.give_back("ahead"))
    assert [type(reserve(budgets, key, 500)) for _ in range(2)] == [Grant, Grant]


steps = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=30)


@settings(max_examples=20)
@given(steps=steps)
def test_never_a_token_more_than_the_budget_whatever_the_order(tmp_path_factory, steps):
    key = key_of(tokens_per_day=200)
    budgets = Budgets(Ledger(tmp_path_factory.mktemp("ledger")), 60.0, Clock())
    spent, held = 0, []
    for most, cost, is_settled_first in steps:
        if is_settled_first and held:
            grant, tokens = held.pop(0)
            settle(budgets, grant, tokens)
        granted = reserve(budgets, key, most)
        if isinstance(granted, Grant):
            spent += min(cost, most)
            held.append((granted, min(cost, most)))
        assert spent <= 200
    budgets.close()


KEEPER = """
import asyncio, json, sys
from pathlib import Path
from eshop_ray.serving.budgets import Budgets, Grant
from eshop_ray.serving.keys import ApiKey
from eshop_ray.serving.ledger import Ledger
async def main():
    budgets = Budgets(Ledger(Path(sys.argv[1])), 60.0)
    key = ApiKey.model_validate_json(sys.argv[2])
    spent = 0
    while True:
        grant = await budgets.reserve(key, 10, str(spent))
        assert isinstance(grant, Grant)
        spent += 7
        await budgets.settle(grant.reservation, 7)
        print(spent, flush=True)
asyncio.run(main())
"""


def test_a_death_of_whoever_keeps_the_books_loses_no_spend(tmp_path):
    key = key_of(tokens_per_day=1_000_000)
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path), write_line(key)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(50):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    spent = int(rest[-1]) if rest else 350
    again = Budgets(Ledger(tmp_path), 60.0)
    reserve(again, key, 1)
    assert spent <= again.read_spent()["a"] <= spent + 20 + 2 * 10_000


def test_a_death_costs_a_key_nothing_that_it_once_had_set_aside(tmp_path, budgets, clock):
    key = key_of(tokens_per_day=1000)
    grants = [reserve(budgets, key, 90) for _ in range(10)]
    for grant in grants:
        settle(budgets, grant, 1)
    budgets.ledger.close()  # as a death does, without a note
    again = Budgets(Ledger(tmp_path), 60.0, clock)
    again.open()
    assert 10 <= again.read_spent()["a"] <= 10 + 2 * 10


def test_one_process_at_a_time_keeps_the_books(tmp_path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    first.open("2027-01-01")
    with pytest.raises(Exception, match="another run is writing it"):
        second.open("2027-01-01")
    first.close()
    second.open("2027-01-01")


def ask(folder, model, bodies, **limits):
    """Ask with all bodies at a time; return the responses, the books and what the key has spent."""
    key, line = make_key("a", **limits)

    async def run():
        async with client_of(model, folder, keys=[write_line(line)], key=key) as http:
            posts = (http.post("/v1/chat/completions", json={**CHAT, **body}) for body in bodies)
            responses = await asyncio.gather(*posts)
            await http.metered.finish()
            return responses, http.metered.budgets.read_spent().get("a", 0)

    return asyncio.run(run())


@pytest.mark.parametrize("is_stream", [False, True])
def test_200_requests_at_a_time_never_spend_a_token_more(tmp_path, is_stream):
    """Each may cost 30 and costs 15; the model counts what it is really asked."""
    model = MadeModel()
    model.usual_tokens = 5
    bodies = [{"max_tokens": 20, "stream": is_stream}] * 200
    responses, spent = ask(tmp_path, model, bodies, tokens_per_day=1000)
    answered = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code == 429]
    assert len(answered) + len(refused) == 200
    assert len(answered) == len(model.calls)
    assert spent == len(answered) * (PROMPT_TOKENS + 5) <= 1000
    assert len(answered) >= 33  # 30 tokens each are set aside
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert {response.json()["error"]["code"] for response in refused} == {"quota"}


def test_requests_in_a_minute(tmp_path):
    responses, _ = ask(tmp_path, MadeModel(), [{"max_tokens": 1}] * 5, requests_per_minute=2)
    assert sorted(response.status_code for response in responses) == [200, 200, 429, 429, 429]
    (refused, *_) = (response for response in responses if response.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_stream_that_is_broken_off_is_charged_what_was_seen_and_little_more(tmp_path):
    model = MadeModel()
    model.pause = 0.01
    key, line = make_key("a", tokens_per_day=10_000)

    async def run():
        async with client_of(model, tmp_path, keys=[write_line(line)], key=key, request_seconds=0.2) as http:
            await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
            await http.metered.finish()
            return http.metered.budgets.read_spent()["a"]

    spent = asyncio.run(run())
    assert PROMPT_TOKENS + model.num_generated <= spent <= PROMPT_TOKENS + model.num_generated + UNSEEN_TOKENS


class BreakingModel(MadeModel):
    """Has so much to say of some answers of a stream, and hangs then."""

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    async def ask(self, call, request_id):
        if isinstance(call, PromptCall):
            async for piece in super().ask(call, request_id):
                yield piece
            return
        for index in self._seen:
            usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 3}
            yield [write_event({"choices": [{"index": index, "text": "word"}], "usage": usage})]
        await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("body", "seen", "charged"),
    [
        ({"prompt": "a", "n": 2}, [0], PROMPT_TOKENS + 3 + 2 * UNSEEN_TOKENS),
        ({"prompt": "a", "n": 2}, [0, 1, 1], PROMPT_TOKENS + 2 * 3 + 2 * UNSEEN_TOKENS),
        ({"prompt": ["a", "b"]}, [], 2 * CONTEXT),
        ({"prompt": ["a", "b"]}, [1], 2 * CONTEXT),
        ({"prompt": ["a", "b"], "n": 2}, [0, 1], 2 * (CONTEXT + 1000)),
        ({"prompt": ["a", "b"], "n": 2}, [0, 3], 2 * PROMPT_TOKENS + 2 * 3 + 4 * UNSEEN_TOKENS),
    ],
)
def test_a_stream_that_is_broken_off_is_charged_each_of_its_prompts(tmp_path, body, seen, charged):
    """vLLM counts in an event the one prompt that it is about."""
    key, line = make_key("a", tokens_per_day=10_000)

    async def run():
        model = BreakingModel(seen)
        async with client_of(model, tmp_path, keys=[write_line(line)], key=key, request_seconds=0.05) as http:
            await http.post("/v1/completions", json={"model": "eshop", "stream": True, "max_tokens": 1000, **body})
            await http.metered.finish()
            return http.metered.budgets.read_spent()["a"]

    assert asyncio.run(run()) == charged


def test_an_answer_that_nobody_waited_for_is_charged_as_the_most_it_could_cost(tmp_path):
    model = MadeModel()
    model.pause = 0.1
    key, line = make_key("a", tokens_per_day=10_000)

    async def run():
        async with client_of(model, tmp_path, keys=[write_line(line)], key=key, request_seconds=0.2) as http:
            await http.post("/v1/chat/completions", json={**CHAT, "max_tokens": 100})
            await http.metered.finish()
            return http.metered.budgets.read_spent()["a"]

    assert asyncio.run(run()) == CONTEXT


def test_a_client_that_leaves_while_tokens_are_set_aside_keeps_none(tmp_path):
    """A keeper of budgets in another process does what it was asked all the same."""

    class SlowBudgets(Budgets):
        async def reserve(self, *arguments):
            await super().reserve(*arguments)
            await asyncio.sleep(3600)

    key = key_of(tokens_per_day=CONTEXT)

    async def run():
        model = MadeModel()
        budgets = SlowBudgets(Ledger(tmp_path), 60.0)
        metered = MeteredModel(model, budgets, LatestFacts(model))
        visit = Visit({}, Headers(), "1", is_named=False, key=key)
        pieces = metered.ask(visit, ApiCall("/v1/chat/completions", CHAT), Cost())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(pieces)
        await metered.finish()
        assert not model.calls
        return await Budgets.reserve(budgets, key, CONTEXT, "another")

    assert asyncio.run(run()) == Grant("another")


def test_nothing_is_spent_where_the_books_cannot_be_written(tmp_path):
    (tmp_path / "ledger").write_text("not a folder")
    model = MadeModel()
    responses, _ = ask(tmp_path, model, [{}], tokens_per_day=10_000)
    assert responses[0].status_code == 503
    assert model.calls == []


@contextmanager
def full_disk(path, room):
    """Let a file grow by so many bytes and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 9], ids=["nothing fits", "half a line fits"])
def test_what_a_full_disk_cannot_note_is_not_spent_and_the_books_are_kept_afterwards(tmp_path, budgets, clock, room):
    key = key_of(tokens_per_day=1000)
    held = reserve(budgets, key, 10)
    (path,) = tmp_path.iterdir()
    with full_disk(path, room):
        for _ in range(2):
            with pytest.raises(OSError, match="too large"):
                reserve(budgets, key, 500)
    settle(budgets, held, 10)
    assert isinstance(reserve(budgets, key, 500), Grant)
    budgets.ledger.close()  # as a death does, without a note
    again = Budgets(Ledger(tmp_path), 60.0, clock)
    again.open()
    assert 510 <= again.read_spent()["a"] <= 510 + 2 * 10


def test_a_cost_that_a_full_disk_cannot_note_is_noted_with_the_next(tmp_path, budgets, clock):
    key = key_of(tokens_per_day=1000)
    held = reserve(budgets, key, 500)
    (path,) = tmp_path.iterdir()
    with full_disk(path, 0), pytest.raises(OSError, match="too large"):
        settle(budgets, held, 1)
    settle(budgets, reserve(budgets, key, 1), 1)
    budgets.ledger.close()
    again = Budgets(Ledger(tmp_path), 60.0, clock)
    again.open()
    assert 2 <= again.read_spent()["a"] <= 2 + 2 * 10


@pytest.mark.parametrize(
    ("url", "body", "most"),
    [
        ("/v1/chat/completions", {}, CONTEXT),
        ("/v1/chat/completions", {"max_tokens": 10}, CONTEXT),
        ("/v1/chat/completions", {"max_tokens": 10, "n": 3}, CONTEXT + 20),
        ("/v1/chat/completions", {"n": 2}, 2 * CONTEXT),
        ("/v1/chat/completions", {"max_completion_tokens": 10, "max_tokens": 99, "n": 2}, CONTEXT + 10),
        ("/v1/chat/completions", {"max_tokens": 10**9}, CONTEXT),
        ("/v1/completions", {"n": 2}, CONTEXT + 16),
        ("/v1/completions", {"max_completion_tokens": 1, "n": 2}, CONTEXT + 16),
        ("/v1/completions", {"max_completion_tokens": 1, "max_tokens": 2000, "n": 128}, CONTEXT + 127 * 2000),
        ("/v1/completions", {"max_completion_tokens": "no number", "max_tokens": 10}, CONTEXT),
    ],
)
def test_the_most_that_a_request_can_cost(url, body, most):
    """By the fields that vLLM reads at the address."""
    assert measure_size(ApiCall(url, body)).count_most(CONTEXT) == most


@given(prompt=st.integers(1, 100), wanted=st.integers(1, 200), n=st.integers(1, 4))
def test_no_request_costs_more_than_the_most(prompt, wanted, n):
    """Whatever an engine makes of a limit beyond its context: refuses it, or cuts it down."""
    size = Size(1, n, wanted)
    cost = prompt + n * min(wanted, 100 - prompt)
    assert cost <= size.count_most(100)
    assert cost <= size.count_most_after(prompt, 100)


def test_a_request_is_reserved_by_the_longest_context_that_it_may_meet():
    """A gateway outlives versions of the model; while one takes over, either may answer."""
    clock, model = Clock(), MadeModel()
    facts = LatestFacts(model, clock)

    async def find():
        found = (await facts.find_largest()).context
        await asyncio.sleep(0)  # for a replica that is asked beside the request
        await asyncio.sleep(0)
        return found

    async def run():
        assert await find() == CONTEXT
        model.context = 2 * CONTEXT
        assert await find() == CONTEXT
        clock.now += 11
        await find()
        assert await find() == facts.newest.context == 2 * CONTEXT
        model.context = CONTEXT // 2
        clock.now += 61
        assert await find() == 2 * CONTEXT
        assert facts.newest.context == CONTEXT // 2
        clock.now += 540
        assert await find() == CONTEXT // 2
        model.context = 3 * CONTEXT
        clock.now += 3600
        assert await find() == 3 * CONTEXT  # after a long time a request waits for that

    asyncio.run(run())


def test_a_model_that_cannot_be_asked_is_what_it_last_said():
    clock, model = Clock(), MadeModel()
    facts = LatestFacts(model, clock)

    async def refuse():
        raise busy_model()

    async def run():
        describe, model.describe = model.describe, refuse
        with pytest.raises(RefusalError):
            await facts.find_largest()
        model.describe = describe
        await facts.find_largest()
        model.describe = refuse
        clock.now += 3600
        return await facts.find_largest()

    assert asyncio.run(run()).context == CONTEXT


def test_the_budget_holds_while_a_model_with_a_longer_context_takes_over(tmp_path):
    model = MadeModel()
    key, line = make_key("a", tokens_per_day=3 * CONTEXT)

    async def run():
        async with client_of(model, tmp_path, keys=[write_line(line)], key=key) as http:
            model.context = 4 * CONTEXT
            await http.metered.facts.ask()
            return await http.post("/v1/chat/completions", json={**CHAT, "max_tokens": 3 * CONTEXT})

    response = asyncio.run(run())
    assert (response.status_code, response.json()["error"]["code"]) == (429, "quota")
    assert not model.calls


def test_prompts_of_a_completion_count_each():
    size = measure_size(ApiCall("/v1/completions", {"prompt": ["a", "b"], "n": 2}))
    assert size == Size(2, 2, 16)
    assert measure_size(ApiCall("/v1/completions", {"prompt": [1, 2]})) == Size(1, 1, 16)
    assert measure_size(ApiCall("/v1/completions", {"prompt_embeds": ["a", "b"]})) == Size(2, 1, 16)
    assert measure_size(ApiCall("/v1/completions", {"prompt": "a", "prompt_embeds": "b"})) == Size(2, 1, 16)
    assert size.count_most(100) == 2 * (100 + 16)
