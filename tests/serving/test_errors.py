"""Refusals of the model's server: passed on where they help, and never with words of the request."""

import json

import pytest

from eshop_ray.inference.openai_api import write_error
from eshop_ray.serving.errors import render_answer

BODY = {"model": "eshop", "messages": [{"role": "user", "content": "x"}], "structured_outputs": {"regex": "(secret["}}


def read(reply):
    return json.loads(reply.body)["error"]


def test_a_reason_is_passed_on_with_the_setting_that_is_behind_it():
    reply = render_answer(write_error(400, "maximum context length is 9.", "messages", "context_length_exceeded"), BODY)
    assert reply.status == 400
    assert read(reply)["param"] == "messages"
    assert read(reply)["message"].startswith("maximum context length is 9; the setting `serve.engine_kwargs.max_model")


@pytest.mark.parametrize(("message", "param"), [("invalid regex (secret[", "x"), ("invalid", "(secret[")])
def test_a_reason_that_recites_the_request_is_not(message, param):
    error = read(render_answer(write_error(400, message, param), BODY))
    assert "secret" not in json.dumps(error)
    assert error["param"] is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_of_the_server_is_one_to_come_back_after(status):
    reply = render_answer(write_error(status, "trace of secret"), BODY)
    assert (reply.status, read(reply)["code"]) == (503, "model_unavailable")
    assert reply.headers["Retry-After"] == "1"
