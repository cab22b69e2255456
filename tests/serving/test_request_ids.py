"""How requests are called in logs and responses, whatever their clients call them; with Ray Serve's own middleware."""

import asyncio
import json
import logging
import re

import pytest
from ray.serve._private.http_util import RequestIdMiddleware, validate_http_proxy_callback_return
from ray.serve._private.utils import call_function_from_import_path

from eshop_ray.serving.proxy import CALLBACK, HeaderFilter, filter_headers
from tests.serving.made_model import MadeModel, build_gateway

MADE = re.compile(rb"[0-9a-f]{32}")
"""An id that the endpoint makes up."""


def ask(folder, *headers, path="/health"):
    """Return the headers of a response, through what stands before the gateway in Ray Serve's proxy."""
    gateway, _, _ = build_gateway(MadeModel(), folder)
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(HeaderFilter(RequestIdMiddleware(gateway))(scope, receive, send))
    assert sent[0]["status"] == 200
    return sent[0]["headers"]


def read_ids(headers):
    return [value for name, value in headers if name.lower() == b"x-request-id"]


@pytest.fixture
def logged(caplog):
    """A function that returns the ids in the access log."""
    caplog.set_level(logging.INFO)
    logging.getLogger("eshop_ray.access").propagate = True

    def read():
        lines = [record.getMessage() for record in caplog.records if record.name == "eshop_ray.access"]
        return [json.loads(line)["request_id"].encode() for line in lines]

    return read


def test_a_name_that_is_fit_for_a_log_comes_back_once(tmp_path, logged):
    assert read_ids(ask(tmp_path, (b"x-request-id", b"order-17_a.b"))) == [b"order-17_a.b"]
    assert logged() == [b"order-17_a.b"]


UNFIT = [
    b"",
    b"a b",
    b"a\r\nSet-Cookie: x=1",
    b'{"time": 1}',
    b"\x1b[31m",
    b"\xff\xfe",
    "ä".encode(),
    b"a" * 65,
    b"a" * 10_240,
]


@pytest.mark.parametrize("given", UNFIT, ids=range(len(UNFIT)))
def test_any_other_is_replaced_in_response_and_log_alike(tmp_path, logged, given):
    (name,) = read_ids(ask(tmp_path, (b"x-request-id", given)))
    assert MADE.fullmatch(name)
    assert logged() == [name]


def test_a_request_without_a_name_gets_one(tmp_path, logged):
    (name,) = read_ids(ask(tmp_path))
    assert MADE.fullmatch(name)
    assert logged() == [name]


def test_of_two_names_the_first_counts(tmp_path, logged):
    assert read_ids(ask(tmp_path, (b"x-request-id", b"one"), (b"X-Request-Id", b"two"))) == [b"one"]
    assert logged() == [b"one"]


@pytest.mark.parametrize(
    "name",
    [
        *(b"x-request-disconnect-disabled", b"X-Request-Timeout-Seconds", b"serve_multiplexed_model_id"),
        *(b"serve-multiplexed-model-id", b"x-session-id", b"X_Session_Id"),
    ],
)
def test_what_ray_serve_obeys_is_not_for_clients(name):
    kept = filter_headers([(b"authorization", b"Bearer x"), (name, b"\xff"), (b"x-request-id", b"one")])
    assert kept == [(b"authorization", b"Bearer x"), (b"x-request-id", b"one")]


def test_ray_serve_takes_the_filter():
    (middleware,) = validate_http_proxy_callback_return(call_function_from_import_path(CALLBACK))
    assert middleware.cls is HeaderFilter
