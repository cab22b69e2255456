"""What comes back, and what it means."""

import json
import math
from email.utils import formatdate
from time import time

import pytest

from eshop_ray.inference.engines.openai.chat_response import Usage, judge_response, read_pause
from eshop_ray.inference.requests import Answer, Busy, Failure

BODY = {"messages": [{"role": "user", "content": "a customer's own and secret words"}]}
KEY = "sk-0815"


def judge(status, response, **headers):
    text = response if isinstance(response, str) else json.dumps(response)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge_response(status, headers, text, BODY, KEY)


def completion(content="yes", finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 1}, **message):  # noqa: B006
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": usage}


def refusal(code=None, message="no"):
    return {"error": {"message": message, "type": "x", "code": code}}


def test_an_answer_has_its_tokens_those_of_the_cache_apart():
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
    verdict = judge(200, completion(usage=usage))
    assert verdict.reply == Answer("yes", "stop", 9, 2)
    assert verdict.usage == Usage(9, 8, 2)
    assert not verdict.is_trouble


def test_an_answer_is_as_sure_as_its_tokens():
    response = completion()
    response["choices"][0]["logprobs"] = {"content": [{"logprob": math.log(0.9)}, {"logprob": math.log(0.4)}]}
    assert judge(200, response).reply.confidence == pytest.approx(0.6)
    response["choices"][0]["logprobs"] = {"content": None}
    assert judge(200, response).reply.confidence is None


def test_an_answer_without_usage_may_have_cost_something():
    verdict = judge(200, completion(usage=None))
    assert verdict.reply == Answer("yes", "stop", 0, 0)
    assert verdict.is_charged


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (completion(finish="content_filter"), "engine: the endpoint ended with `content_filter`"),
        (completion(content=None, refusal="I cannot"), "engine: an answer without text"),
    ],
)
def test_no_answer_is_the_rows_failure_and_is_paid_for(response, error):
    verdict = judge(200, response)
    assert verdict.reply.error == error
    assert verdict.usage == Usage(9, 0, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}', "null"])
def test_nonsense_is_tried_again(text):
    verdict = judge(200, text)
    assert isinstance(verdict.reply, Busy)
    assert verdict.is_charged
    assert verdict.is_trouble


@pytest.mark.parametrize(("status", "is_trouble"), [(408, False), (429, False), (500, True), (503, True), (529, True)])
def test_what_passes_is_tried_again(status, is_trouble):
    verdict = judge(status, "<html>", retry_after="7")
    assert verdict.reply == Busy(f"HTTP {status}")
    assert (verdict.pause, verdict.is_trouble, verdict.is_charged, verdict.end) == (7, is_trouble, False, None)


@pytest.mark.parametrize(
    ("status", "response", "reason"),
    [
        (401, refusal("invalid_api_key"), "HTTP 401: the endpoint does not take the key (no)"),
        (402, refusal(), "HTTP 402: the endpoint wants to be paid first (no)"),
        (403, "<html>", "HTTP 403: the endpoint does not allow this"),
        (404, refusal(message="no model m"), "HTTP 404: the endpoint has no such model or address (no model m)"),
        (302, "", "HTTP 302: the endpoint is elsewhere"),
        (429, refusal("insufficient_quota"), "HTTP 429, insufficient_quota: the quota of the key is used up"),
    ],
)
def test_what_will_not_pass_ends_the_job(status, response, reason):
    verdict = judge(status, response)
    assert verdict.end.startswith(reason)
    assert isinstance(verdict.reply, Failure)


def test_an_endpoint_that_wants_to_be_left_alone_for_long_ends_the_job():
    assert judge(429, "", retry_after="86400").end.startswith("HTTP 429: the endpoint asks to wait for 86,400 seconds")


def test_a_row_that_is_refused_costs_itself():
    assert judge(400, refusal(message="bad temperature")).reply.error == (
        "engine: refused by the endpoint: HTTP 400 (bad temperature)"
    )
    too_long = judge(400, refusal("context_length_exceeded")).reply
    assert (too_long.reason, judge(400, {"message": "maximum context length is 9"}).reply.reason) == ("too_long",) * 2


@pytest.mark.parametrize("message", ["you said: a customer's own and secret words", f"wrong key {KEY}"])
@pytest.mark.parametrize("status", [400, 401])
def test_neither_the_row_nor_the_key_is_recited(status, message):
    verdict = judge(status, refusal(message=message))
    assert message not in verdict.reply.error
    assert KEY not in verdict.reply.error


def test_a_pause_is_told_in_seconds_milliseconds_or_by_date():
    assert read_pause({"retry-after": "1.5"}) == 1.5
    assert read_pause({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert 3 < read_pause({"retry-after": formatdate(time() + 5, usegmt=True)}) <= 5
    assert read_pause({"retry-after": formatdate(time() - 5, usegmt=True)}) == 0
    assert read_pause({"retry-after": "soon"}) == read_pause({}) == 0
