"""What happens to an engine, and what its rows see of it: nothing, unless they are to blame."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.circuit_breaker import MIN_GUILTY, EngineBrokenError
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.lifecycle import LONGEST_PAUSE
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.requests import Answer, Failure, Request
from tests.inference.dispatch.fake_engine import STALL_SECONDS, FakeEngine, ImpatientLoop


class Pauses(list):
    async def __call__(self, seconds):
        self.append(seconds)


def answer(engine, *batches, batch_size=4, num_calls=3, max_retries=3):
    """Outcomes per batch, all batches at once, and the pauses made."""
    pauses = Pauses()

    async def run():
        limits = Limits(batch_size, num_calls, STALL_SECONDS, max_retries)
        dispatcher = Dispatcher([engine], limits, pauses)
        requests = [[Request(prompt, {}) for prompt in batch] for batch in batches]
        return await asyncio.gather(*(dispatcher.answer(batch) for batch in requests))

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        return runner.run(run()), pauses


def good(count, name="row"):
    return [f"{name}{index}" for index in range(count)]


def texts(outcomes):
    return [outcome.text if isinstance(outcome, Answer) else outcome.error for outcome in outcomes]


def test_rows_go_in_calls_and_come_back_in_order():
    engine = FakeEngine()
    (outcomes,), pauses = answer(engine, good(30))
    assert texts(outcomes) == good(30)
    assert [len(call) for call in engine.calls] == [4] * 7 + [2]
    assert (engine.most_inside, engine.num_starts, pauses) == (3, 1, [])
    assert answer(engine, [])[0] == [[]]


@pytest.mark.parametrize("number", range(8))
def test_kill_from_outside_costs_no_row(number):
    engine = FakeEngine(deaths={number})
    (outcomes,), _ = answer(engine, good(30))
    assert texts(outcomes) == good(30)
    assert engine.num_starts == 2


def test_row_that_kills_costs_itself_only():
    engine = FakeEngine()
    (outcomes,), _ = answer(engine, [*good(13), "kill", *good(13)])
    assert outcomes[13] == Failure("engine_killed", "the engine died of it 2 times: died")
    assert texts(outcomes[:13] + outcomes[14:]) == good(13) * 2
    assert engine.calls.count(["kill"]) == 2


def test_several_killers_are_told_apart():
    rows = [f"kill{index}" if index % 5 == 0 else f"row{index}" for index in range(40)]
    (outcomes,), _ = answer(FakeEngine(), rows, max_retries=0)
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [index % 5 == 0 for index in range(40)]


def test_one_death_alone_may_be_chance():
    engine = FakeEngine(deaths={0, 1, 3})  # the call, the first group, its first row
    (outcomes,), _ = answer(engine, good(4))
    assert engine.calls[:4] == [good(4), ["row0", "row1"], ["row2", "row3"], ["row0"]]
    assert texts(outcomes) == good(4)


def test_suspects_are_asked_with_nobody_else_inside():
    class Watched(FakeEngine):
        async def ask(self, requests):
            if "kill" in [request.prompt for request in requests] and self.num_starts > 1:
                assert self.inside[self.num_starts] == 0
            return await super().ask(requests)

    batches = [good(12, "a"), [*good(5, "b"), "kill", *good(6, "c")]]
    (first, second), _ = answer(Watched(), *batches)
    assert texts(first) == batches[0]
    assert [outcome.error for outcome in second if isinstance(outcome, Failure)] == [
        "engine_killed: the engine died of it 2 times: died"
    ]


def test_engine_that_goes_on_is_waited_for():
    engine = FakeEngine()
    (outcomes,), _ = answer(engine, [*good(3), "slow"])
    assert texts(outcomes) == [*good(3), "slow"]
    assert engine.num_starts == 1


def test_row_that_stalls_costs_itself_only_and_the_engine_is_replaced():
    engine = FakeEngine()
    (outcomes,), _ = answer(engine, [*good(5), "stall", *good(5)])
    assert outcomes[5] == Failure("engine", "no answer within 10 min 00 s, 2 times alone")
    assert texts(outcomes[:5] + outcomes[6:]) == good(5) * 2
    assert engine.num_starts > 2


def test_busy_engine_is_asked_again_after_growing_pauses():
    engine = FakeEngine()
    (outcomes,), pauses = answer(engine, ["busy 3", *good(2)])
    assert texts(outcomes) == ["busy 3", *good(2)]
    assert engine.calls == [["busy 3", *good(2)], ["busy 3"], ["busy 3"], ["busy 3"]]
    assert engine.num_starts == 1
    assert all(low <= pause <= 2 * low for pause, low in zip(pauses, (0.25, 0.5, 1.0), strict=True))
    (outcomes,), pauses = answer(FakeEngine(), ["busy 99"], max_retries=12)
    assert texts(outcomes) == ["engine: HTTP 429, 13 times"]
    assert max(pauses) <= LONGEST_PAUSE


def test_refused_row_is_asked_once():
    engine = FakeEngine()
    (outcomes,), _ = answer(engine, ["reject", *good(2)])
    assert texts(outcomes) == ["engine: refused", *good(2)]
    assert len(engine.calls) == 1


def test_start_that_fails_is_tried_again_then_ends_the_run():
    engine = FakeEngine(failing_starts=3)
    (outcomes,), pauses = answer(engine, good(9))
    assert texts(outcomes) == good(9)
    assert len(pauses) == 3
    with pytest.raises(UserError, match="did not start in 4 tries: out of memory"):
        answer(FakeEngine(failing_starts=99), good(9), good(2))


def test_engine_that_refuses_its_settings_ends_the_run_at_once():
    class Misconfigured(FakeEngine):
        async def start(self):
            self.num_starts += 1
            raise UserError("no such option")

    engine = Misconfigured()
    with pytest.raises(UserError, match="no such option"):
        answer(engine, good(9))
    assert engine.num_starts == 1


class Broken(FakeEngine):
    """Dies of whatever it is asked, from some call on."""

    def __init__(self, first=0):
        super().__init__()
        self.deaths = range(first, 10_000)


def test_an_engine_that_always_dies_ends_the_run():
    engine = Broken()
    with pytest.raises(EngineBrokenError, match=r"died \d times in a row, whatever.*has answered nothing so far: died"):
        answer(engine, good(1000), batch_size=64)
    assert engine.num_starts <= 6


def test_an_engine_that_begins_to_die_ends_the_run_and_what_it_answered_is_known():
    engine = Broken(first=5)
    with pytest.raises(EngineBrokenError, match=r"died \d times in a row, whatever it was asked: died"):
        answer(engine, good(1000), batch_size=64)
    assert engine.num_starts <= 7


def test_an_engine_that_always_stalls_ends_the_run():
    with pytest.raises(EngineBrokenError, match="no answer within 10 min"):
        answer(AlwaysStalls(), good(100))


class AlwaysStalls(FakeEngine):
    async def ask(self, requests):
        return await super().ask([Request(f"stall {request.prompt}", {}) for request in requests])


def test_one_row_in_a_thousand_that_kills_ends_nothing():
    batches = [[f"kill{number}", *good(999, f"row{number}x")] for number in range(30)]
    answered, _ = answer(FakeEngine(), *batches, batch_size=64)
    assert [[isinstance(outcome, Failure) for outcome in outcomes].index(True) for outcomes in answered] == [0] * 30
    assert sum(isinstance(outcome, Failure) for outcomes in answered for outcome in outcomes) == 30


def test_more_rows_that_kill_than_rows_can_be_to_blame_for_end_the_run():
    rows = [f"kill{index}" if index % 20 == 0 else f"row{index}" for index in range(2000)]
    with pytest.raises(EngineBrokenError, match=r"died of \d+ rows of \d+, too many"):
        answer(FakeEngine(), rows, batch_size=64)


def test_message_is_cut():
    assert len(Failure("engine", "x" * 5000).error) < 250


PROMPTS = st.sampled_from(["row", "row", "row", "row", "reject", "kill", "busy 1", "busy 9", "stall"])


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(st.lists(PROMPTS, max_size=20), min_size=1, max_size=3),
    deaths=st.sets(st.integers(0, 60), max_size=12),
    failing_starts=st.integers(0, 3),
    batch_size=st.integers(1, 9),
    num_calls=st.integers(1, 4),
)
def test_every_row_ends_once_and_only_the_guilty_fail(batches, deaths, failing_starts, batch_size, num_calls):
    counter = itertools.count()
    named = [[f"{prompt} {next(counter)}" for prompt in batch] for batch in batches]
    named = [[prompt.replace("row ", "row") for prompt in batch] for batch in named]
    engine = FakeEngine(failing_starts=failing_starts, deaths=deaths)
    try:
        answered, _ = answer(engine, *named, batch_size=batch_size, num_calls=num_calls)
    except EngineBrokenError:  # it was killed from outside whenever it was asked something harmless, or for many rows
        num_guilty = sum(prompt.startswith(("kill", "stall")) for batch in named for prompt in batch)
        assert num_guilty + len(deaths) // 2 > MIN_GUILTY or engine.num_deaths_of_probes >= 2
        return
    assert engine.most_inside <= num_calls
    for batch, outcomes in zip(named, answered, strict=True):
        assert len(outcomes) == len(batch)
        for prompt, outcome in zip(batch, outcomes, strict=True):
            check(prompt, outcome, num_alone=sum(engine.calls[death : death + 1] == [[prompt]] for death in deaths))


def check(prompt, outcome, num_alone):
    """`num_alone`: kills from outside while the row was alone inside; of two, it cannot prove its innocence."""
    failure = outcome.reason if isinstance(outcome, Failure) else None
    if num_alone >= 2:
        assert failure in {None, "engine", "engine_killed"}
    elif prompt.startswith("kill"):
        assert failure == "engine_killed"
    elif prompt.startswith("stall") and num_alone:
        assert failure in {"engine", "engine_killed"}
    elif prompt.startswith(("reject", "busy 9", "stall")):
        assert failure == "engine"
    else:
        assert outcome == Answer(prompt, "stop", 1, 1)
