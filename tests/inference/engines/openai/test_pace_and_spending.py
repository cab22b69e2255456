"""How fast and for how much: limits that hold for any order of requests."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.config import OpenaiSection
from eshop_ray.inference.engines.openai.chat_request import Size
from eshop_ray.inference.engines.openai.chat_response import Usage
from eshop_ray.inference.engines.openai.pace import MINUTE, Pace
from eshop_ray.inference.engines.openai.spending import Decision, Prices, Spending

ARRIVALS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), min_size=1, max_size=60)


@settings(max_examples=30)
@given(ARRIVALS, st.integers(1, 40), st.integers(100, 2000))
def test_no_minute_has_more_than_the_limits_allow(arrivals, num_requests, num_tokens):
    pace, now, sent = Pace(num_requests, num_tokens), 0.0, []
    for gap, tokens in arrivals:
        now += gap
        sent.append((pace.book(now, tokens), tokens))
        assert sent[-1][0] >= now
    for start, _ in sent:
        minute = [tokens for time, tokens in sent if start <= time < start + MINUTE - 1e-6]
        assert len(minute) <= num_requests
        assert sum(minute[:-1]) <= num_tokens  # the last one may be larger than what is left


def test_without_limits_nothing_waits():
    pace = Pace(None, None)
    assert [pace.book(1.0, 10**9) for _ in range(3)] == [1.0] * 3


def test_what_came_out_cheaper_gives_time_back():
    pace = Pace(None, 600)
    pace.book(0.0, 100)
    pace.correct(100, 40)
    assert pace.book(0.0, 1) == pytest.approx(4.0)


def test_a_pause_holds_everything_back():
    pace = Pace(None, None)
    pace.pause(9.0)
    assert pace.book(1.0, 1) == 9.0


def test_tokens_of_the_cache_have_a_price_of_their_own():
    prices = Prices.of(OpenaiSection(input_price=2, cached_input_price=0.5, output_price=8))
    assert prices.price(Usage(1_000_000, 400_000, 100_000)) == pytest.approx(1.2 + 0.2 + 0.8)
    assert Prices.of(OpenaiSection(input_price=2)).price(Usage(1_000_000, 400_000, 5)) == pytest.approx(2.0)
    assert Prices.of(OpenaiSection(input_price=1, cached_input_price=3)).price_most(Size(0, 1_000_000, None)) == 3


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), max_size=50), st.floats(0.5, 5), st.randoms())
def test_the_limit_is_never_passed(requests, limit, random):
    spending, under_way = Spending(limit), []
    for most, share in requests:
        while (decision := spending.reserve(most)) is Decision.WAIT:
            spending.settle(*under_way.pop(random.randrange(len(under_way))))
        if decision is Decision.STOP:
            assert spending.spent + most > limit
        else:
            under_way.append((most, most * share))
    for most, cost in under_way:
        spending.settle(most, cost)
    assert spending.spent <= limit + 1e-6
    assert spending.reserved == pytest.approx(0)


def test_without_a_limit_everything_goes():
    assert Spending(None).reserve(1e9) is Decision.GO
