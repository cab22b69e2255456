import asyncio

import pytest

from eshop_ray.inference.dispatch.dedup import Deduplicator, identify
from eshop_ray.inference.requests import Answer, Failure, Request

GREEDY = {"temperature": 0.0, "max_tokens": 8}


class Engine:
    """Answers with the prompt, in the order asked; `fail` fails, `break` breaks the call."""

    def __init__(self):
        self.calls = []
        self.opened = asyncio.Event()
        self.opened.set()

    async def answer(self, requests):
        prompts = [request.prompt for request in requests]
        self.calls.append(prompts)
        await self.opened.wait()
        if "break" in prompts:
            raise ValueError("broken")
        return [Failure("engine", "no") if prompt == "fail" else Answer(prompt, "stop", 1, 1) for prompt in prompts]


def ask(*prompts, **params):
    return [Request(prompt, {**GREEDY, **params}) for prompt in prompts]


def texts(outcomes):
    return [outcome.text if isinstance(outcome, Answer) else outcome.reason for outcome in outcomes]


def test_same_question_is_asked_once_and_every_row_answered_in_order():
    async def run():
        engine = Engine()
        once = Deduplicator(engine.answer)
        assert texts(await once.answer(ask("b", "a", "b", "c", "a"))) == ["b", "a", "b", "c", "a"]
        assert texts(await once.answer(ask("c", "d"))) == ["c", "d"]
        assert texts(await once.answer(ask("a", "d"))) == ["a", "d"]
        assert engine.calls == [["b", "a", "c"], ["d"]]

    asyncio.run(run())


def test_batches_at_the_same_time_share_what_is_on_its_way():
    async def run():
        engine = Engine()
        engine.opened.clear()
        once = Deduplicator(engine.answer)
        batches = [asyncio.create_task(once.answer(ask(*prompts))) for prompts in (["a", "b"], ["b", "c"], ["b"])]
        await asyncio.sleep(0)
        engine.opened.set()
        assert [texts(outcomes) for outcomes in await asyncio.gather(*batches)] == [["a", "b"], ["b", "c"], ["b"]]
        assert engine.calls == [["a", "b"], ["c"]]

    asyncio.run(run())


def test_failure_is_shared_by_who_waits_and_not_kept():
    async def run():
        engine = Engine()
        once = Deduplicator(engine.answer)
        assert texts(await once.answer(ask("fail", "fail"))) == ["engine", "engine"]
        assert texts(await once.answer(ask("fail"))) == ["engine"]
        assert engine.calls == [["fail"], ["fail"]]

    asyncio.run(run())


def test_broken_call_ends_those_that_wait_for_it_and_nothing_of_it_stays():
    async def run():
        engine = Engine()
        engine.opened.clear()
        once = Deduplicator(engine.answer)
        batches = [asyncio.create_task(once.answer(ask(*prompts))) for prompts in (["break", "a"], ["a"])]
        await asyncio.sleep(0)
        engine.opened.set()
        assert [type(outcome) for outcome in await asyncio.gather(*batches, return_exceptions=True)] == [ValueError] * 2
        assert texts(await once.answer(ask("a"))) == ["a"]

    asyncio.run(run())


def test_least_recently_used_answers_are_forgotten():
    async def run():
        engine = Engine()
        once = Deduplicator(engine.answer, max_kept=2)
        for prompt in ("a", "b", "a", "c", "a", "b"):
            await once.answer(ask(prompt))
        assert engine.calls == [["a"], ["b"], ["c"], ["b"]]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (Request([1, 2], GREEDY), Request([1, 2], dict(reversed(GREEDY.items()))), True),
        (Request([1, 2], GREEDY), Request([1, 3], GREEDY), False),
        (Request([1, 2], GREEDY), Request([1, 2], {**GREEDY, "max_tokens": 9}), False),
        (Request([1], GREEDY), Request([1], {**GREEDY, "structured_outputs": {"choice": ["a"]}}), False),
        (Request("a", {"temperature": 1.0, "seed": 3}), Request("a", {"temperature": 1.0, "seed": 3}), True),
        (Request("\ud800", GREEDY), Request("\ud800", GREEDY), True),
    ],
)
def test_same_is_what_gets_the_same_answer(one, other, is_same):
    assert (identify(one) == identify(other)) is is_same


@pytest.mark.parametrize("params", [{"temperature": 0.7}, {}, {"temperature": 1.0, "seed": None}])
def test_what_chance_decides_is_never_shared(params):
    assert identify(Request([1], {"max_tokens": 8, **params})) is None
