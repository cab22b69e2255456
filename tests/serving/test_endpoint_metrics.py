"""What a gateway measures: every request once, by labels of which clients can make up none."""

import asyncio
import json
import logging
import re

import pytest

from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.metrics import (
    DURATION,
    FIRST_TOKEN,
    IN_HAND,
    METRICS,
    REJECTIONS,
    REQUESTS,
    TOKENS,
)
from tests.serving.made_model import CHAT, MadeModel, MadeRecorder, client_of
from tests.serving.made_shop import open_catalogue

KEY, LINE = make_key("search", tokens_per_day=10_000, requests_per_minute=3)
CHAT_ROUTE = "/v1/chat/completions"
RECORD = {"text": "A spade.", "labels": ["Garden", "Kitchen"]}


def measure(folder, *requests, model=None, **options):
    """Return what was recorded of some requests: method, path, and what httpx takes."""
    recorder = MadeRecorder()

    async def run():
        async with client_of(model or MadeModel(), folder, recorder=recorder, **options) as http:
            for method, path, arguments in requests:
                await http.request(method, path, **arguments)

    asyncio.run(run())
    return recorder


def chat(**fields):
    return "POST", CHAT_ROUTE, {"json": {**CHAT, "max_tokens": 3, **fields}}


def test_a_request_counts_with_its_address_its_key_and_its_tokens(tmp_path):
    recorder = measure(tmp_path, chat(), chat(), keys=[write_line(LINE)], key=KEY)
    assert recorder.read(REQUESTS) == {(CHAT_ROUTE, "-", "search", "200"): 2}
    assert recorder.read(TOKENS) == {
        (CHAT_ROUTE, "-", "search", "prompt"): 20,
        (CHAT_ROUTE, "-", "search", "completion"): 6,
    }
    (seconds,) = recorder.read(DURATION).values()
    assert len(seconds) == 2
    assert min(seconds) > 0
    assert recorder.read(REJECTIONS) == {}


def test_first_token_is_timed_of_streams_only(tmp_path):
    model = MadeModel()
    model.pause = 0.01
    recorder = measure(tmp_path, chat(), chat(stream=True), model=model)
    ((first,),) = recorder.read(FIRST_TOKEN).values()
    ((_, whole),) = recorder.read(DURATION).values()
    assert 0.01 <= first < whole - 0.02


def test_a_task_counts_by_its_name(tmp_path):
    paths = ("/v1/tasks/classification", "/v1/tasks/classification:batch")
    recorder = measure(
        tmp_path, ("POST", paths[0], {"json": RECORD}), ("POST", paths[1], {"json": {"records": [RECORD, RECORD]}})
    )
    routes = ("/v1/tasks/{task}", "/v1/tasks/{task}:batch")
    assert recorder.read(REQUESTS) == {(route, "classification", "-", "200"): 1 for route in routes}
    assert recorder.read(TOKENS)[routes[1], "classification", "-", "prompt"] == 20


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (("POST", CHAT_ROUTE, {"content": b"{", "headers": {"Content-Type": "application/json"}}), "invalid_json"),
        (chat(model="other"), "model_not_found"),
        (chat(max_tokens=20_000), "quota"),
        (("GET", "/v1/catalogue/search", {}), "no_catalogue"),
    ],
)
def test_a_rejection_counts_by_its_reason(tmp_path, wrong, reason):
    without_key = measure(tmp_path, wrong, keys=[write_line(LINE)])
    assert without_key.read(REJECTIONS) == {(wrong[1], "-", "-", "invalid_api_key"): 1}
    key, line = make_key("small", tokens_per_day=10)
    assert measure(tmp_path, wrong, keys=[write_line(line)], key=key).read(REJECTIONS) == {
        (wrong[1], "-", "small", reason): 1
    }


def test_a_stream_that_breaks_off_is_a_rejection_too(tmp_path):
    class Breaking(MadeModel):
        async def _stream(self, call, length):
            async for events in super()._stream(call, length):
                yield events
                raise RefusalError(503, "gone", "model_unavailable")

    recorder = measure(tmp_path, chat(stream=True), model=Breaking())
    assert recorder.read(REQUESTS) == {(CHAT_ROUTE, "-", "-", "200"): 1}
    assert recorder.read(REJECTIONS) == {(CHAT_ROUTE, "-", "-", "model_unavailable"): 1}


def test_what_clients_make_up_becomes_no_series(tmp_path):
    made_up = [
        (method, path, {"headers": {"Authorization": f"Bearer esk-{number}", "X-Request-ID": str(number)}})
        for number in range(20)
        for method, path in (
            ("GET", f"/no/such/{number}"),
            ("POST", f"/v1/tasks/none{number}"),
            (f"VERB{number}", CHAT_ROUTE),
            ("GET", f"/v1/models/none{number}"),
        )
    ]
    recorder = measure(tmp_path, *made_up)
    assert recorder.read(REQUESTS) == {
        ("-", "-", "-", "404"): 20,
        ("/v1/tasks/{task}", "-", "-", "415"): 20,
        (CHAT_ROUTE, "-", "-", "405"): 20,
        ("/v1/models/{model:path}", "-", "-", "404"): 20,
    }
    assert "none1" not in str(recorder.found)


def test_requests_in_hand(tmp_path):
    recorder = MadeRecorder()
    model = MadeModel()
    model.pause = 0.02

    async def run():
        async with client_of(model, tmp_path, recorder=recorder) as http:
            body = {**CHAT, "max_tokens": 3}
            running = [asyncio.create_task(http.post(CHAT_ROUTE, json=body)) for _ in range(4)]
            await asyncio.sleep(0.03)
            before = recorder.read(IN_HAND)
            await asyncio.gather(*running)
            return before

    assert asyncio.run(run()) == {(): 4}
    assert recorder.read(IN_HAND) == {(): 0}


def test_the_assistants_first_token_is_the_models(tmp_path):
    model = MadeModel()
    model.pieces = ("[1]", " It is.")
    model.pause = 0.01
    body = {"messages": [{"role": "user", "content": "Which pan?"}], "stream": True}
    recorder = measure(
        tmp_path, ("POST", "/v1/assistant", {"json": body}), model=model, catalogue=open_catalogue(tmp_path / "index")
    )
    assert recorder.read(REQUESTS) == {("/v1/assistant", "-", "-", "200"): 1}
    ((first,),) = recorder.read(FIRST_TOKEN).values()
    assert first >= 0.01


def test_the_access_log_says_task_and_error(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    logging.getLogger("eshop_ray.access").propagate = True
    measure(tmp_path, ("POST", "/v1/tasks/classification", {"json": {}}), chat(n="x"))
    lines = [json.loads(record.message) for record in caplog.records if record.name == "eshop_ray.access"]
    assert [(line["task"], line["error"]) for line in lines] == [
        ("classification", "invalid_record"),
        (None, "invalid_value"),
    ]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_units_are_prometheus_own(metric):
    assert re.fullmatch(r"eshop_[a-z_]+", metric.name)
    assert not metric.name.endswith("_total"), "Ray adds it"
    assert (metric.kind == "histogram") == bool(metric.boundaries) == metric.name.endswith("_seconds")
    assert list(metric.boundaries) == sorted(metric.boundaries)
    assert not {"le", "deployment", "replica", "application"} & set(metric.labels), "Ray's own, or Prometheus'"
