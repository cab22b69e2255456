"""Calls to the engine's process, as far as they need no engine."""

from eshop_ray.inference.requests import Answer, Request
from eshop_ray.inference.vllm_actor import _Call


def test_last_reply_answers_a_call_in_the_order_of_its_requests():
    call = _Call([Request("a", {}), Request("b", {})])
    second, first = Answer("2", "stop", 1, 1), Answer("1", "stop", 1, 1)
    call.put(1, second)
    assert not call.done.done()
    call.put(0, first)
    assert call.done.result() == [first, second]


def test_reply_that_nobody_waits_for_disturbs_no_other():
    call = _Call([Request("a", {})])
    call.done.cancel()
    call.put(0, Answer("1", "stop", 1, 1))
    assert call.done.cancelled()
