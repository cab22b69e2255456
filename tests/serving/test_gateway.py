"""What the gateway lets through and what it refuses, before a model that is made up."""

import asyncio
import json
import logging
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import make_key, write_line
from tests.serving.made_model import CHAT, MadeModel, build_gateway, client_of

SECRET = "very secret"
JSON = {"Content-Type": "application/json"}


def check(folder, ask, model=None, **options):
    """Return what a client gets."""

    async def run():
        async with client_of(model or MadeModel(), folder, **options) as http:
            return await ask(http)

    return asyncio.run(run())


def post(body, url="/v1/chat/completions", **options):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {**JSON, **options.pop("headers", {})}
    return lambda http: http.post(url, content=body, headers=headers, **options)


def read_error(response, status):
    """Return the error of a response, which is OpenAI's form and has nothing of what was asked."""
    assert response.status_code == status, response.text
    assert SECRET not in response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_chat_answers(tmp_path):
    response = check(tmp_path, post({**CHAT, "max_tokens": 2}))
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "word word"
    assert response.headers["x-request-id"]
    assert "access-control-allow-origin" not in response.headers


def read_events(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


@pytest.mark.parametrize(
    ("options", "with_usage"),
    [
        (None, []),
        ({"include_usage": True}, [3]),
        ({"include_usage": True, "continuous_usage_stats": True}, [0, 1, 2, 3]),
    ],
)
def test_stream_has_the_counts_that_the_client_asked_for(tmp_path, options, with_usage):
    body = {**CHAT, "stream": True, "max_tokens": 3, **({"stream_options": options} if options else {})}
    events = read_events(check(tmp_path, post(body)))
    assert [number for number, event in enumerate(events) if "usage" in event] == with_usage
    texts = [event["choices"][0]["delta"]["content"] for event in events if event["choices"]]
    assert texts == ["word"] * 3


def test_an_event_is_one_line_to_every_reader(tmp_path):
    model = MadeModel()
    model.pieces = ("one\u2028two", "\u0085", "\U0001f6d2")
    response = check(tmp_path, post({**CHAT, "stream": True}), model)
    lines = [line for line in response.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    found = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert [event["choices"][0]["delta"]["content"] for event in found] == list(model.pieces)


BAD_BODIES = [
    (b"{", 400, "invalid_json"),
    (b"", 400, "invalid_json"),
    (b"[1]", 400, "invalid_json"),
    (b"\xff\xfe", 400, "invalid_json"),
    (b'{"model": "eshop", "messages": NaN}', 400, "invalid_json"),
    (b'{"model": "eshop", "temperature": 1e999}', 400, "invalid_value"),
    (b"[" * 100_000, 400, "invalid_json"),
    (b'{"model": "eshop", "prompt": "very secret \\ud800"}', 400, "invalid_json"),
    (b'{"model": "eshop\\udcff", "very secret": 1}', 400, "invalid_json"),
    ({**CHAT, "top_k": 2**70}, 400, "invalid_value"),
    ({**CHAT, "logit_bias": {"1": -(2**80)}}, 400, "invalid_value"),
    ({**CHAT, "n": 10**6}, 400, "invalid_value"),
    ({**CHAT, "n": "2"}, 400, "invalid_value"),
    ({**CHAT, "max_tokens": True}, 400, "invalid_value"),
    ({**CHAT, "stream": True, "stream_options": [1]}, 400, "invalid_value"),
    ({**CHAT, "stream": 1}, 400, "invalid_value"),
    ({**CHAT, "stream": "yes"}, 400, "invalid_value"),
    ({**CHAT, "model": "a very secret model"}, 404, "model_not_found"),
    ({"messages": []}, 404, "model_not_found"),
    ({**CHAT, "padding": "very secret " * 100_000}, 413, "request_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_bodies(tmp_path, body, status, code):
    assert read_error(check(tmp_path, post(body)), status)["code"] == code


def test_body_of_another_type_is_not_read(tmp_path):
    response = check(tmp_path, post(CHAT, headers={"Content-Type": "text/plain"}))
    assert read_error(response, 415)["code"] == "invalid_content_type"


def test_a_body_without_a_length_is_read_up_to_the_limit_only(tmp_path):
    num_sent = 0

    async def chunks():
        nonlocal num_sent
        for _ in range(1000):
            num_sent += 1
            yield b" " * 10_000

    response = check(
        tmp_path,
        lambda http: http.post("/v1/completions", content=chunks(), headers=JSON),
        max_body_bytes=50_000,
    )
    assert read_error(response, 413)["code"] == "request_too_large"
    assert num_sent < 10


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/none", 404),
        ("GET", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/eshop", 405),
        ("GET", "/v1/models/very secret", 404),
        ("POST", "/v1/tasks/very secret", 404),
    ],
)
def test_addresses_that_are_not_there(tmp_path, method, path, status):
    read_error(check(tmp_path, lambda http: http.request(method, path, content=b"{}", headers=JSON)), status)


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("PUT", "/v1/completions", "POST"), ("POST", "/v1/models", "GET")]
)
def test_an_address_says_which_methods_it_takes(tmp_path, method, path, allowed):
    response = check(tmp_path, lambda http: http.request(method, path))
    assert read_error(response, 405)["code"] == "invalid_method"
    assert allowed in response.headers["allow"].split(", ")


def test_models(tmp_path):
    (model,) = check(tmp_path, lambda http: http.get("/v1/models")).json()["data"]
    assert model["id"] == "eshop"
    assert check(tmp_path, lambda http: http.get("/v1/models/eshop")).json() == model


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[", "Host": ""}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": "http://a\u2100b".encode()}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 403),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "shop.example"}, 200),
        ({"Host": "[broken"}, 403),
    ],
)
def test_web_pages_are_refused(tmp_path, headers, status):
    response = check(tmp_path, post(CHAT, headers=headers), allowed_hosts=("shop.example",))
    assert response.status_code == status
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_without_keys_only_this_machine_may_ask(tmp_path):
    assert check(tmp_path, post(CHAT), client=("10.0.0.9", 4711)).status_code == 403


KEY, LINE = make_key("search", note="of the search team")


@pytest.mark.parametrize("key", [None, "esk-wrong", KEY[:-1], LINE.sha256], ids=["none", "wrong", "cut", "digest"])
def test_a_key_is_wanted(tmp_path, key):
    response = check(tmp_path, post(CHAT), keys=[write_line(LINE)], key=key)
    assert read_error(response, 401)["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert check(tmp_path, lambda http: http.get("/v1/models"), keys=[write_line(LINE)], key=key).status_code == 401


def test_a_key_lets_in_from_anywhere_until_it_is_revoked(tmp_path):
    async def ask(http):
        first = await post(CHAT)(http)
        (tmp_path / "keys").write_text("")
        return first, await post(CHAT)(http)

    first, second = check(tmp_path, ask, keys=[write_line(LINE)], key=KEY, client=("10.0.0.9", 1), host="0.0.0.0")
    assert first.status_code == 200
    assert read_error(second, 401)


def test_what_only_says_whether_it_runs_needs_no_key(tmp_path):
    for path in ("/health", "/ready", "/openapi.json"):
        assert check(tmp_path, lambda http, path=path: http.get(path), keys=[write_line(LINE)]).status_code == 200


def test_nothing_is_ready_before_a_token_was_generated(tmp_path):
    async def run():
        model = MadeModel()
        model.trouble = RefusalError(503, "not up")
        gateway, readiness, _ = build_gateway(model, tmp_path)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://127.0.0.1") as http:
            refused = [await http.get("/ready"), await http.get("/v1/models"), await post(CHAT)(http)]
            model.trouble = None
            await readiness.wait()
            return refused, [await http.get("/ready"), await http.get("/v1/models")]

    refused, answered = asyncio.run(run())
    for response in refused:
        assert read_error(response, 503)
        assert int(response.headers["retry-after"]) > 0
    assert [response.status_code for response in answered] == [200, 200]


def test_more_requests_than_may_run_are_refused_and_the_others_answered(tmp_path):
    model = MadeModel()
    model.pause = 0.05

    async def ask(http):
        return await asyncio.gather(*(post({**CHAT, "max_tokens": 1})(http) for _ in range(5)))

    responses = check(tmp_path, ask, model, max_concurrent_requests=2)
    assert sorted(response.status_code for response in responses) == [200, 200, 503, 503, 503]
    assert all(response.headers["retry-after"] for response in responses if response.status_code == 503)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_request_ends_when_its_time_is_up(tmp_path, is_stream):
    model = MadeModel()
    model.pause = 0.02
    began = time.monotonic()
    response = check(tmp_path, post({**CHAT, "stream": is_stream}), model, request_seconds=0.15)
    assert time.monotonic() - began < 5
    if is_stream:
        assert response.text.count("word") > 1
        assert json.loads(response.text.strip().split("data: ")[-1])["error"]["code"] == "timeout"
    else:
        assert read_error(response, 503)["code"] == "timeout"
    assert model.num_generated < 20


def test_a_slow_body_ends_too(tmp_path):
    async def drops():
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    response = check(
        tmp_path, lambda http: http.post("/v1/completions", content=drops(), headers=JSON), request_seconds=0.1
    )
    assert read_error(response, 503)["code"] == "timeout"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_leaves_has_nothing_generated_any_more(tmp_path, is_stream):
    """The interface of the server is used by hand here: httpx's own transport never leaves."""
    model = MadeModel()
    model.pause = 0.005

    async def run():
        gateway, readiness, metered = build_gateway(model, tmp_path)
        await readiness.wait()
        body = json.dumps({**CHAT, "stream": is_stream}).encode()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        async def send(_message):
            pass

        await gateway(scope, receive, send)
        await metered.finish()
        before = model.num_generated
        await asyncio.sleep(0.05)
        return before

    before = asyncio.run(run())
    assert model.num_generated == before
    assert before < 100


def test_after_the_end_was_asked_for_running_answers_finish_and_others_are_refused(tmp_path):
    model = MadeModel()
    model.pause = 0.01

    async def ask(http):
        running = asyncio.create_task(post({**CHAT, "max_tokens": 10})(http))
        await asyncio.sleep(0.03)
        drained = asyncio.create_task(http.gateway.drain(5))
        await asyncio.sleep(0)
        refused = await post(CHAT)(http)
        states = [(await http.get(path)).status_code for path in ("/health", "/ready")]
        return await running, refused, await drained, states

    answer, refused, is_drained, states = check(tmp_path, ask, model)
    assert states == [200, 503]
    assert answer.status_code == 200
    assert read_error(refused, 503)["code"] == "stopping"
    assert is_drained


def test_trouble_of_the_model_is_not_told_in_its_own_words(tmp_path, caplog):
    model = MadeModel()

    async def ask(http):
        model.trouble = ValueError("a very secret prompt")
        broken = await post(CHAT)(http)
        model.trouble = RefusalError(503, "busy", retry_after=1)
        return broken, await post(CHAT)(http)

    broken, busy = check(tmp_path, ask, model)
    assert read_error(broken, 500)
    assert read_error(busy, 503)
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


def test_access_log_has_ids_and_counts_and_no_text(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    logging.getLogger("eshop_ray.access").propagate = True
    headers = {"X-Request-ID": "order-17"}
    check(tmp_path, post({**CHAT, "max_tokens": 3}, headers=headers), keys=[write_line(LINE)], key=KEY)
    check(tmp_path, post(b"{}", url="/v1/tasks/very secret", headers={"X-Request-ID": "very secret"}))
    first, second = (json.loads(record.message) for record in caplog.records if record.name == "eshop_ray.access")
    assert first["request_id"] == "order-17"
    assert (first["key"], first["route"], first["status"]) == ("search", "/v1/chat/completions", 200)
    assert (first["input_tokens"], first["generated_tokens"]) == (10, 3)
    assert (second["route"], second["status"]) == ("/v1/tasks/{task}", 404)
    assert SECRET not in caplog.text
    assert KEY not in caplog.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["messages", "prompt", "n", "max_tokens", "stream", "stream_options", "records", "text", "labels", "x"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=60)
@given(
    body=st.binary(max_size=40) | st.dictionaries(FIELDS, JSON_VALUES).map(lambda fields: {"model": "eshop", **fields}),
    url=st.sampled_from(
        ["/v1/chat/completions", "/v1/completions", "/v1/tasks/classification", "/v1/tasks/ner:batch", "/v1/tasks/%00"]
    ),
)
def test_no_body_makes_trouble(folder, body, url):
    model = MadeModel()
    model.usual_tokens = 2
    response = check(folder, post(body, url=url), model)
    assert response.status_code in (200, 400, 404, 422), (response.status_code, body)
