"""Requests to OpenAI's API on their way through a block."""

import json

import pyarrow as pa
import pytest

from eshop_ray.inference.dispatch.api_form import ApiForm, build_request
from eshop_ray.inference.dispatch.dedup import identify
from eshop_ray.inference.requests import ApiAnswer, Failure

URL = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "scarf"}]
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "url", "body", "error")])


def block(*rows):
    return pa.Table.from_pylist([{"id": "a", "url": URL, "body": None, "error": None, **row} for row in rows], SCHEMA)


def test_body_begins_with_what_others_share():
    request = build_request(URL, {"user": "me", "temperature": 0, "messages": MESSAGES})
    assert request.prompt.startswith('{"messages": [{"role": "user"')
    assert request.read_body() == {"user": "me", "temperature": 0, "messages": MESSAGES}


@pytest.mark.parametrize(
    ("body", "is_shared"),
    [
        ({}, False),
        ({"temperature": 0.5}, False),
        ({"temperature": 0}, True),
        ({"seed": 3}, True),
        ({"seed": -1}, False),
        ({"temperature": "0"}, False),
    ],
)
def test_requests_without_chance_in_them_are_asked_once(body, is_shared):
    request = build_request(URL, {"messages": MESSAGES, **body})
    assert (identify(request) is not None) == is_shared


def test_requests_differ_by_every_field_and_the_address():
    bodies = [{"temperature": 0, "prompt": "a"}, {"temperature": 0, "prompt": "a", "echo": True}]
    requests = [build_request(url, body) for body in bodies for url in (URL, "/v1/completions")]
    assert len({identify(request) for request in requests}) == 4


@pytest.mark.parametrize("limit", [None, "8", 0, -1, 10**30, 8.0])
def test_odd_limits_are_the_servers_business(limit):
    request = build_request(URL, {"messages": MESSAGES, "max_tokens": limit})
    assert request.params["max_tokens"] == 0
    assert request.read_body()["max_tokens"] == limit


def test_rows_that_failed_before_are_not_asked():
    asked, refused = ApiForm().read_rows(block({"body": "{}"}, {"error": "invalid_url: x"}))
    assert asked.request is not None
    assert refused.request is None


def test_outcomes_stand_in_columns():
    form = ApiForm()
    table = block({"body": "{}"}, {"body": "{}"}, {"error": "invalid_url: x"})
    rows = form.read_rows(table)
    rows[0].add(ApiAnswer(200, json.dumps({"id": "x"}), 3, 4, ("extra_body",)))
    rows[1].add(Failure("engine_killed", "of it"))
    answered, killed, refused = form.add_answers(table, rows).to_pylist()
    assert (answered["status"], answered["response"], answered["ignored"]) == (200, '{"id": "x"}', ["extra_body"])
    assert (answered["num_input_tokens"], answered["num_generated_tokens"], answered["error"]) == (3, 4, None)
    assert (killed["status"], killed["error"]) == (None, "engine_killed: of it")
    assert (refused["status"], refused["error"]) == (None, "invalid_url: x")
