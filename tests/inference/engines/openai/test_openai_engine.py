"""An endpoint that misbehaves in every way that one does: rows get their answers, and the job ends where it has to."""

import asyncio
import itertools
import time
from collections import Counter

import pytest
from pydantic import SecretStr

from eshop_ray.config import OpenaiSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engines.openai import engine
from eshop_ray.inference.engines.openai.chat_request import Size, write_messages
from eshop_ray.inference.engines.openai.chat_response import Usage
from eshop_ray.inference.engines.openai.engine import MAX_REFUSED, OpenaiEngine
from eshop_ray.inference.engines.openai.ledger import Ledger
from eshop_ray.inference.engines.openai.meter import Meter
from eshop_ray.inference.requests import Answer, Request
from tests.inference.engines.fake_endpoint import refuse, start_endpoint

KEY = "sk-0815"


class Handle:
    """A meter in this process, called as an actor is."""

    def __init__(self, meter):
        for name in ("admit", "settle", "pause", "stop", "has_answered"):
            setattr(self, name, type("Method", (), {"remote": staticmethod(getattr(meter, name))}))


def ask(endpoint, texts, num_engines=1, max_retries=3, ledger=None, **config):
    """Ask through dispatcher and supervisor, which do not pause; return outcomes and what was spent."""
    section = OpenaiSection(base_url=endpoint.url, model="m", **{"timeout_seconds": 3, **config})

    async def skip(_seconds):
        await asyncio.sleep(0)

    async def run():
        meter = Meter(section, ledger or Ledger(None, ""))
        engines = [OpenaiEngine(section, SecretStr(KEY), lambda: Handle(meter)) for _ in range(num_engines)]
        dispatcher = Dispatcher(engines, Limits(1, section.max_concurrent_requests, 60, max_retries), skip)
        params = {"temperature": 0.0, "max_tokens": 2}
        requests = [Request(write_messages([{"role": "user", "content": text}]), params) for text in texts]
        try:
            return await dispatcher.answer(requests), await meter.close()
        finally:
            await meter.close()

    return asyncio.run(run())


def texts_of(outcomes):
    return [outcome.text if isinstance(outcome, Answer) else outcome.error for outcome in outcomes]


def rows(number):
    return [f"row {index}" for index in range(number)]


def at_first(action, then="answer yes"):
    """Misbehave the first time that a question is asked."""
    return lambda number, _body: action if number == 0 else then


def test_rows_are_asked_at_the_same_time_and_come_back_in_order():
    def behave(_number, body):
        time.sleep(0.05)
        return f"answer {body['messages'][-1]['content']}"

    with start_endpoint(behave, key=KEY) as endpoint:
        outcomes, account = ask(endpoint, rows(24), max_concurrent_requests=8, output_price=1e6)
    assert texts_of(outcomes) == rows(24)
    assert 4 < endpoint.most_inside <= 8
    assert (account.counts["num_requests"], account.counts["num_answers"], account.cost) == (24, 24, 48)
    assert {body["model"] for body in endpoint.bodies} == {"m"}


@pytest.mark.parametrize("trouble", ["cut", "malformed", refuse(500), refuse(503), refuse(408)])
def test_trouble_that_passes_costs_no_row(trouble):
    with start_endpoint(at_first(trouble)) as endpoint:
        outcomes, account = ask(endpoint, rows(4))
    assert texts_of(outcomes) == ["yes"] * 4
    assert account.counts["num_requests"] == 8


def test_an_endpoint_that_hangs_is_asked_again():
    with start_endpoint(at_first("hang")) as endpoint:
        outcomes, account = ask(endpoint, rows(3), timeout_seconds=0.4, output_price=1e6, input_price=0)
    assert texts_of(outcomes) == ["yes"] * 3
    assert account.counts["num_uncounted"] == 3
    assert account.cost == 3 * 2 + 3  # what may have been written unseen counts in full


def test_retry_after_is_waited_for_by_all_engines():
    def behave(number, body):
        return (
            refuse(429, Retry_After="1") if body["messages"][0]["content"] == "row 0" and number == 0 else "answer yes"
        )

    with start_endpoint(behave) as endpoint:
        outcomes, _ = ask(endpoint, rows(6), num_engines=2, max_concurrent_requests=1)
    assert texts_of(outcomes) == ["yes"] * 6
    refused = endpoint.questions.index("row 0")
    gaps = [later - endpoint.times[refused] for later in endpoint.times[refused + 1 :]]
    late = [gap for gap in gaps if gap > 0.5]  # the others were sent before the refusal had arrived
    assert len(late) >= 3
    assert min(late) >= 1


def test_trouble_that_does_not_pass_fails_the_row_and_no_other():
    def behave(_number, body):
        return refuse(503) if body["messages"][0]["content"] == "row 1" else "answer yes"

    with start_endpoint(behave) as endpoint:
        outcomes, _ = ask(endpoint, rows(3), max_retries=2)
    assert texts_of(outcomes) == ["yes", "engine: HTTP 503, 3 times", "yes"]


def test_a_row_that_is_refused_fails_at_once():
    def behave(_number, body):
        return refuse(400, "context_length_exceeded") if body["messages"][0]["content"] == "row 1" else "answer yes"

    with start_endpoint(behave) as endpoint:
        outcomes, _ = ask(endpoint, rows(3))
    assert outcomes[1].reason == "too_long"
    assert endpoint.seen["row 1"] == 1


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (refuse(401), "HTTP 401"),
        (refuse(403), "HTTP 403"),
        (refuse(404), "HTTP 404"),
        (refuse(429, "insufficient_quota"), "insufficient_quota"),
        (refuse(302, Location="http://elsewhere.invalid/"), "HTTP 302"),
    ],
)
def test_what_will_not_pass_ends_the_job_at_once(action, reason):
    with start_endpoint(lambda *_: action) as endpoint, pytest.raises(UserError, match=reason) as caught:
        ask(endpoint, rows(50), max_concurrent_requests=2)
    assert len(endpoint.times) <= 4
    assert KEY not in str(caught.value)


def test_a_wrong_key_is_found_before_anything_is_asked():
    with (
        start_endpoint(key="another") as endpoint,
        pytest.raises(UserError, match=r"HTTP 401.*openai.api_key_env") as caught,
    ):
        ask(endpoint, rows(50))
    assert not endpoint.times
    assert KEY not in str(caught.value)


def test_once_something_was_answered_the_other_rows_are_let_go():
    def behave(_number, body):
        return "answer yes" if len(body["messages"][0]["content"]) == 5 else refuse(429, "insufficient_quota")

    with start_endpoint(behave) as endpoint:
        outcomes, account = ask(endpoint, rows(60), max_concurrent_requests=1)
    assert texts_of(outcomes)[:2] == ["yes", "yes"]
    assert all(text == "yes" or text.startswith("stopped: HTTP 429") for text in texts_of(outcomes))
    assert len(endpoint.times) < 20
    assert "insufficient_quota" in account.end


def test_an_endpoint_that_refuses_everything_ends_the_job():
    refusal = refuse(400, message="max_tokens is not supported")
    with start_endpoint(lambda *_: refusal) as endpoint, pytest.raises(UserError, match="max_tokens is not supported"):
        ask(endpoint, rows(200), max_concurrent_requests=4)
    assert MAX_REFUSED <= len(endpoint.times) <= MAX_REFUSED + 4


def test_rows_that_are_left_since_they_are_refused_end_no_job_of_an_endpoint_that_answered_others(tmp_path):
    ledger = Ledger(tmp_path / "split=dev", "inputs")
    refusal = refuse(400, message="no such thing")
    with start_endpoint(lambda *_: refusal) as endpoint:
        ledger.write(0.0, Counter(num_answers=975))
        outcomes, account = ask(endpoint, rows(25), ledger=ledger)
    assert all("no such thing" in text for text in texts_of(outcomes))
    assert account.end is None


def test_rows_that_are_too_long_say_nothing_of_the_endpoint():
    with start_endpoint(lambda *_: refuse(400, "context_length_exceeded")) as endpoint:
        outcomes, account = ask(endpoint, rows(2 * MAX_REFUSED))
    assert all(text.startswith("too_long") for text in texts_of(outcomes))
    assert account.end is None


def test_after_a_pause_requests_keep_their_distance():
    """Whoever waits in a pause needs a new turn: all at once would be refused once more."""

    async def run():
        meter = Meter(OpenaiSection(base_url="http://x", model="m", requests_per_minute=600), Ledger(None, ""))
        began, times = time.monotonic(), []

        async def ask_one():
            assert await meter.admit(Size(1, 1, 1)) is None
            times.append(time.monotonic() - began)

        asking = [asyncio.create_task(ask_one()) for _ in range(8)]
        await asyncio.sleep(0.05)
        await meter.pause(0.5)
        await asyncio.gather(*asking)
        return sorted(times)

    first, *others = asyncio.run(run())
    assert first < 0.05
    assert others[0] >= 0.5
    assert min(later - earlier for earlier, later in itertools.pairwise(others)) > 0.08


def test_an_endpoint_that_is_gone_ends_the_job():
    with start_endpoint() as endpoint:
        pass
    with pytest.raises(UserError, match="cannot be reached"):
        ask(endpoint, rows(5), max_retries=1)


def test_an_endpoint_that_breaks_for_good_ends_the_job(monkeypatch):
    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(engine, "OUTAGE_SECONDS", 0.3)
    with (
        start_endpoint(lambda *_: refuse(500)) as endpoint,
        pytest.raises(UserError, match=r"in trouble for .*: HTTP 500"),
    ):
        ask(endpoint, rows(400), max_concurrent_requests=4, max_retries=1000)
    assert len(endpoint.times) < 100


def test_an_outage_that_ends_costs_no_row(monkeypatch):
    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.1)
    with start_endpoint(lambda *_: "answer yes" if len(endpoint.times) > 60 else refuse(502)) as endpoint:
        outcomes, _ = ask(endpoint, rows(10), max_concurrent_requests=4, max_retries=20)  # its first tries count
    assert texts_of(outcomes) == ["yes"] * 10


def test_requests_of_all_engines_keep_to_the_limits_of_a_minute():
    with start_endpoint() as endpoint:
        ask(endpoint, rows(12), num_engines=2, requests_per_minute=600)
    gaps = [later - earlier for earlier, later in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert endpoint.times[-1] - endpoint.times[0] >= 11 * 0.1 - 0.05
    assert len(gaps) == 11


def test_tokens_keep_to_the_limit_of_a_minute():
    with start_endpoint() as endpoint:
        ask(endpoint, rows(5), tokens_per_minute=6000, extra_body={"max_tokens": 20})
    assert endpoint.times[-1] - endpoint.times[0] > 0.2  # each has a hundred tokens by estimate, a second; few in truth


PRICES = {"input_price": 0.0, "output_price": 1e6}
"""A token costs 1; each answer has one token, and may have two."""


@pytest.mark.parametrize("max_cost", [1, 2, 7, 12, 30])
def test_the_limit_of_cost_is_never_passed(max_cost):
    with start_endpoint() as endpoint:
        outcomes, account = ask(endpoint, rows(20), max_cost=max_cost, max_concurrent_requests=8, **PRICES)
    answered = [text for text in texts_of(outcomes) if text == "yes"]
    assert len(answered) == len(endpoint.times) == min(20, max(max_cost - 1, 0))  # the last one might have had two
    assert account.cost == len(answered) <= max_cost
    assert account.is_budget_spent == (len(answered) < 20)
    assert all(text == "yes" or "openai.max_cost" in text for text in texts_of(outcomes))


def test_what_was_spent_before_a_kill_counts(tmp_path):
    def ledger(inputs="inputs"):
        return Ledger(tmp_path / "split=dev", inputs)

    with start_endpoint() as endpoint:
        _, account = ask(endpoint, rows(20), ledger=ledger(), max_cost=8, **PRICES)
        assert account.cost == 7
        spent = ledger().read()[0]
        assert spent == 7
        _, account = ask(endpoint, rows(20), ledger=ledger(), max_cost=12, **PRICES)
        assert account.cost == 11
        assert account.counts["num_requests"] == 11
        assert ledger("others").read()[0] == 0
        ledger().remove()
        assert ledger().read()[0] == 0
        assert list(tmp_path.iterdir()) == []


def test_a_killed_run_has_noted_more_than_it_has_spent(tmp_path):
    section = OpenaiSection(model="m", max_cost=1000, **PRICES)

    async def spend():
        meter = Meter(section, Ledger(tmp_path / "split=dev", "inputs"))
        size = Size(10, 5, 2)
        for _ in range(100):
            assert await meter.admit(size) is None
            await meter.settle(size, Usage(5, 0, 1), is_answer=True)

    asyncio.run(spend())  # and no `close`
    noted = Ledger(tmp_path / "split=dev", "inputs").read()[0]
    assert 100 <= noted <= 112
