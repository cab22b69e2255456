"""A group of engines: who is asked what, and what the rows see of an engine that is slow, ends or never starts."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.batching import (
    PREFIX_BLOCK_TOKENS,
    RecentHashes,
    build_calls,
    count_shared,
    cut,
    hash_prefix,
)
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.lifecycle import DidNotStartError
from eshop_ray.inference.dispatch.stage import choose_group_size, count_blocks
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engines.simulated.timing import SimulatedGpu, Timing
from eshop_ray.inference.requests import Answer, Failure, Request
from tests.inference.dispatch.fake_engine import STALL_SECONDS, FakeEngine, ImpatientLoop


def answer(engines, *batches, batch_size=4, num_calls=2, max_retries=2):
    """Outcomes per batch, all batches at once, and the seconds that it took by the clock that does not wait."""

    async def run():
        dispatcher = Dispatcher(engines, Limits(batch_size, num_calls, STALL_SECONDS, max_retries))
        requests = [[Request(prompt, {"max_tokens": 8}) for prompt in batch] for batch in batches]
        outcomes = await asyncio.gather(*(dispatcher.answer(batch) for batch in requests))
        return outcomes, asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        return runner.run(run())


def texts(outcomes):
    return [outcome.text if isinstance(outcome, Answer) else outcome.reason for outcome in outcomes]


def rows(count, name="row"):
    return [f"{name}{index:04d}" for index in range(count)]


class Timed(FakeEngine):
    """Takes its time for a call."""

    def __init__(self, seconds, **values):
        super().__init__(**values)
        self.seconds = seconds

    async def ask(self, requests):
        await asyncio.sleep(self.seconds)
        return await super().ask(requests)


def test_work_is_shared_and_rows_come_back_in_order():
    engines = [Timed(1.0) for _ in range(4)]
    (first, second), seconds = answer(engines, rows(64, "b")[::-1], rows(64, "a"))
    assert (texts(first), texts(second)) == (rows(64, "b")[::-1], rows(64, "a"))
    assert [sum(map(len, engine.calls)) for engine in engines] == [32] * 4
    assert {engine.most_inside for engine in engines} == {2}
    assert seconds == pytest.approx(4.0)  # 32 calls, eight at a time


def test_slow_engine_takes_less():
    engines = [Timed(1.0), Timed(10.0)]
    (outcomes,), seconds = answer(engines, rows(160))
    assert texts(outcomes) == rows(160)
    assert seconds <= 20.0
    assert len(engines[1].calls) <= 4


def test_engine_that_is_not_up_keeps_no_call_waiting():
    class Late(FakeEngine):
        async def start(self):
            await asyncio.sleep(1000)
            await super().start()

    late = Late()
    (outcomes,), seconds = answer([Timed(1.0), late], rows(80))
    assert texts(outcomes) == rows(80)
    assert seconds == pytest.approx(10.0)
    assert not late.calls


def test_group_goes_on_without_an_engine_that_does_not_start(caplog):
    (outcomes,), _ = answer([FakeEngine(failing_starts=99), Timed(50.0)], rows(40))
    assert texts(outcomes) == rows(40)
    assert "an engine is given up, 1 go on: the engine did not start in 3 tries" in caplog.text


def test_calls_of_an_engine_that_does_not_come_back_go_to_another():
    class Ending(FakeEngine):
        async def ask(self, requests):
            self.failing_starts = 99
            return await super().ask(requests)

    ending = Ending(deaths={0})
    (outcomes,), _ = answer([ending, Timed(1.0)], rows(40))
    assert texts(outcomes) == rows(40)
    assert (ending.num_starts, len(ending.calls)) == (1, 2)


def test_run_ends_when_no_engine_starts_and_at_once_when_settings_are_refused():
    with pytest.raises(DidNotStartError):
        answer([FakeEngine(failing_starts=99) for _ in range(3)], rows(9), rows(2))

    class Misconfigured(FakeEngine):
        async def start(self):
            raise UserError("no such option")

    class Pending(FakeEngine):
        async def start(self):
            await asyncio.sleep(1e9)

    with pytest.raises(UserError, match="no such option"):
        answer([Pending(), Misconfigured()], rows(9))


def test_row_that_kills_costs_itself_whichever_engine_has_it():
    engines = [FakeEngine() for _ in range(3)]
    batch = [*rows(20, "a"), "kill", *rows(20, "z")]
    (outcomes,), _ = answer(engines, batch)
    assert texts(outcomes) == [*rows(20, "a"), "engine_killed", *rows(20, "z")]
    assert sorted(engine.num_starts for engine in engines)[:2] == [1, 1]


PROMPTS = st.sampled_from(["row", "row", "row", "row", "reject", "kill", "busy 1", "stall"])


@settings(max_examples=80, deadline=None)
@given(
    batches=st.lists(st.lists(PROMPTS, max_size=20), min_size=1, max_size=3),
    deaths=st.lists(st.sets(st.integers(0, 20), max_size=2), min_size=1, max_size=4),
    failing_starts=st.lists(st.sampled_from([0, 0, 1, 99]), min_size=4, max_size=4),
    batch_size=st.integers(1, 9),
    num_calls=st.integers(1, 4),
)
def test_every_row_ends_once_whatever_happens_to_the_group(batches, deaths, failing_starts, batch_size, num_calls):
    engines = [
        FakeEngine(failing_starts=failing, deaths=set(when))
        for failing, when in zip([0, *failing_starts], deaths, strict=False)
    ]
    named = [
        [f"{prompt} {index}x{number}" for index, prompt in enumerate(batch)] for number, batch in enumerate(batches)
    ]
    answered, _ = answer(engines, *named, batch_size=batch_size, num_calls=num_calls)
    for batch, outcomes in zip(named, answered, strict=True):
        assert len(outcomes) == len(batch)
        for prompt, outcome in zip(batch, outcomes, strict=True):
            assert isinstance(outcome, Failure) or outcome.text == prompt
            if prompt.startswith(("kill", "stall", "reject")):
                assert isinstance(outcome, Failure)
            elif not any(deaths):  # of two kills from outside while it was alone, a row cannot prove its innocence
                assert outcome == Answer(prompt, "stop", 1, 1)
    assert all(engine.most_inside <= num_calls for engine in engines)


def shop(num_families, num_rows):
    """Texts of a thousand tokens, of which six hundred are their family's, families mixed."""
    chance = random.Random(0)
    families = [write(chance, 600) for _ in range(num_families)]
    return [chance.choice(families) + write(chance, 400) for _ in range(num_rows)]


def write(chance, num_tokens):
    return "".join(f"{chance.getrandbits(12):03x} " for _ in range(num_tokens))


class Gpu(FakeEngine):
    """Takes a GPU's time."""

    def __init__(self, number):
        super().__init__()
        self.gpu = SimulatedGpu(Timing(max_num_seqs=16, prefix_cache_tokens=40_000), number)

    async def ask(self, requests):
        await self.gpu.run([request.prompt for request in requests], [20] * len(requests))
        return await super().ask(requests)


def test_beginnings_meet_in_the_engine_that_knows_them():
    prompts = shop(num_families=48, num_rows=2048)
    blocks = [prompts[start : start + 64] for start in range(0, len(prompts), 64)]
    shares = []
    for size in (1, 4):
        engines = [Gpu(number) for number in range(4)]
        for start in range(0, 4, size):
            answer(engines[start : start + size], *blocks[start // size :: 4 // size], batch_size=16, num_calls=3)
        shares.append(sum(one.gpu.num_cached for one in engines) / sum(one.gpu.num_read for one in engines))
    assert shares[1] > 1.3 * shares[0]


def test_gpu_takes_its_time():
    async def run(num_rows):
        gpu = SimulatedGpu(Timing(prefill_tokens_per_second=10_000, max_num_seqs=8, step_seconds=0.01), 0)
        await gpu.run([f"{number:0400d}" for number in range(num_rows)], [50] * num_rows)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        assert runner.run(run(8)) == pytest.approx(8 * 0.01 + 50 * (0.01 + 8 * 0.00002), abs=0.11)
        begun = runner.run(run(8)), runner.run(run(400))
    timing = Timing(prefill_tokens_per_second=10_000, max_num_seqs=8, step_seconds=0.01)
    assert 400 / (begun[1] - begun[0]) == pytest.approx(timing.count_rows_per_second(100, 50), rel=0.05)


def test_calls_are_cut_where_little_is_shared():
    size = PREFIX_BLOCK_TOKENS
    prompts = sorted(
        [[family] * size + [number] for family, count in ((1, 14), (2, 18), (3, 3)) for number in range(count)]
    )
    parts = [prompts[part] for part in cut(prompts, 16)]
    assert [(len(part), part[0][0], part[-1][0]) for part in parts] == [(14, 1, 1), (16, 2, 2), (5, 2, 3)]
    assert [len(rows(40)[part]) for part in cut(rows(40), 16)] == [16, 16, 8]
    assert list(cut([], 16)) == []


@given(st.lists(st.integers(0, 1), max_size=40), st.lists(st.integers(0, 1), max_size=40))
def test_shared_length_is_that_of_the_common_beginning(one, other):
    expected = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    assert count_shared(one, other) == (min(len(one), len(other)) if expected is None else expected)


def test_beginnings_are_learned_piece_by_piece_and_own_text_is_not():
    met = RecentHashes()
    common = list(range(3 * PREFIX_BLOCK_TOKENS))
    own = [[1000 + number] * (10 * PREFIX_BLOCK_TOKENS) for number in range(9)]
    learned = [len(list(hash_prefix(common + text, met))) for text in own]
    assert learned == [1, 2, 3, 4, 4, 4, 4, 4, 4]


def test_every_request_is_in_one_call():
    async def build():
        requests = [Request(prompt, {"max_tokens": 5}) for prompt in rows(50)[::-1]]
        return build_calls(requests, 8, RecentHashes())

    calls = asyncio.run(build())
    assert sorted(place for call in calls for place in call.places) == list(range(50))
    assert [request.prompt for call in calls for request in call.requests] == rows(50)
    assert all(len(call.requests) <= 8 for call in calls)
    assert calls[0].work == 8 * (len("row0000") // 4 + 5)


@pytest.mark.parametrize(("concurrency", "size"), [(1, 1), (4, 4), (6, 3), (7, 1), (10, 2), (64, 4)])
def test_groups_are_of_equal_size(concurrency, size):
    assert choose_group_size(concurrency) == size


def test_blocks_in_flight_fill_the_engine():
    assert [count_blocks(Limits(64, num_calls, 1, 1)) for num_calls in (1, 4, 12)] == [2, 2, 4]
