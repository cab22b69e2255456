"""Calls to the engine's process, as far as they need no engine."""

from types import SimpleNamespace

import pytest

from eshop_ray.inference.engines.vllm_actor import _PendingCall
from eshop_ray.inference.engines.vllm_output import read_output
from eshop_ray.inference.requests import Answer, Failure, Request


def test_last_reply_answers_a_call_in_the_order_of_its_requests():
    call = _PendingCall([Request("a", {}), Request("b", {})])
    second, first = Answer("2", "stop", 1, 1), Answer("1", "stop", 1, 1)
    call.put(1, second)
    assert not call.done.done()
    call.put(0, first)
    assert call.done.result() == [first, second]


def test_reply_that_nobody_waits_for_disturbs_no_other():
    call = _PendingCall([Request("a", {})])
    call.done.cancel()
    call.put(0, Answer("1", "stop", 1, 1))
    assert call.done.cancelled()


@pytest.mark.parametrize(
    ("constraint", "is_answer"),
    [
        (None, True),
        ({"choice": ["a", ""]}, True),
        ({"choice": ["a"]}, False),
        ({"regex": "a*"}, True),
        ({"regex": r"[^\s\S]"}, False),
        ({"regex": r"\p{L}"}, True),
        ({"json": {"type": "integer"}}, False),
        ({"grammar": 'root ::= ""'}, True),
    ],
)
def test_empty_answer_counts_where_the_constraint_allows_it(constraint, is_answer):
    completion = SimpleNamespace(text="", finish_reason="stop", token_ids=[2])
    output = SimpleNamespace(outputs=[completion], prompt_token_ids=[1])
    reply = read_output(output, {"structured_outputs": constraint})
    assert reply == (Answer("", "stop", 1, 1) if is_answer else Failure("engine", "no answer fits its constraint"))
