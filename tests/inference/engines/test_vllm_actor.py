"""Calls to the engine's process, as far as they need no engine."""

import math
from types import SimpleNamespace

import pytest

from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.engines.vllm_actor import VllmActor, _PendingCall
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


class Tokenizer:
    @staticmethod
    def decode(ids):
        return " ".join(map(str, ids))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("expect A to be bfloat16\n or half", "RuntimeError: expect A to be bfloat16 or half"),
        ("cannot read 101 102 103 104 105", "RuntimeError"),
    ],
)
def test_who_waits_for_an_engine_that_fails_is_told_why_in_words_that_quote_no_row(text, told):
    actor = VllmActor.__new__(VllmActor)
    actor._waiting = {}
    call = _PendingCall([Request([101, 102, 103, 104, 105], {})])
    actor._expect(call.done, call.requests)
    actor._fail(RuntimeError(text), SimpleNamespace(get_tokenizer=Tokenizer))
    with pytest.raises(EngineDiedError, match=f"^{told}$"):
        call.done.result()
    assert actor._waiting == {}


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
    completion = SimpleNamespace(text="", finish_reason="stop", token_ids=[2], logprobs=None)
    output = SimpleNamespace(outputs=[completion], prompt_token_ids=[1])
    reply = read_output(output, {"structured_outputs": constraint})
    assert reply == (Answer("", "stop", 1, 1) if is_answer else Failure("engine", "no answer fits its constraint"))


def test_confidence_is_the_mean_probability_of_the_tokens_that_were_chosen():
    scored = [{5: SimpleNamespace(logprob=math.log(0.9)), 6: SimpleNamespace(logprob=-9.0)}]
    scored.append({7: SimpleNamespace(logprob=math.log(0.4))})
    completion = SimpleNamespace(text="x y", finish_reason="stop", token_ids=[5, 7], logprobs=scored)
    reply = read_output(SimpleNamespace(outputs=[completion], prompt_token_ids=[1]), {})
    assert reply.confidence == pytest.approx(0.6)
