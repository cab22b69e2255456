"""Batches from upload to results, driven by OpenAI's own client alone over a real port, across a restart."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import openai
import pytest
import uvicorn

from eshop_ray.serving.keys import make_key, write_line
from tests.processes import free_port
from tests.serving.batches.made_batches import Keeper, request, write
from tests.serving.made_model import MadeModel, build_gateway
from tests.waiting import wait_until

KEYS = {name: make_key(name) for name in ("a", "b")}


@contextmanager
def endpoint(folder, model, **settings):
    """Serve; yield a function that returns a key's client."""
    port = free_port()
    server = None

    async def serve():
        nonlocal server
        made = []

        def make_batches(config, ring, metered):
            made.append(Keeper(folder, config, ring, metered))
            return made[0].endpoints

        lines = [write_line(line) for _, line in KEYS.values()]
        gateway, readiness, _ = build_gateway(model, folder, lines, make_batches=make_batches, **settings)
        await readiness.wait()
        seeing = asyncio.create_task(made[0].scheduler.run())
        server = uvicorn.Server(uvicorn.Config(gateway, port=port, log_level="error", lifespan="off"))
        await server.serve()
        seeing.cancel()
        await made[0].scheduler.pause(0)
        made[0].store.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert wait_until(lambda: server is not None and server.started, "the endpoint", is_running=thread.is_alive)
        yield lambda name: openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key=KEYS[name][0], max_retries=0, timeout=30
        )
    finally:
        if server is not None:
            server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wait_for(client, batch, *statuses):
    found = batch
    deadline = time.monotonic() + 60
    while found.status not in statuses:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
        found = client.batches.retrieve(batch.id)
    return found


def read(client, file_id):
    return {line["custom_id"]: line for line in map(json.loads, client.files.content(file_id).text.splitlines())}


def create(client, lines, **options):
    file = client.files.create(file=("in.jsonl", write(lines)), purpose="batch")
    usual = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return client.batches.create(input_file_id=file.id, **{**usual, **options})


def test_a_batch_from_upload_to_results(tmp_path):
    with endpoint(tmp_path, MadeModel()) as client_of:
        client = client_of("a")
        lines = [*(request(str(number)) for number in range(40)), request("bad", n=1000)]
        batch = create(client, lines, metadata={"shop": "demo"})
        assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"shop": "demo"})
        done = wait_for(client, batch, "completed", "failed")
        assert done.status == "completed"
        assert done.request_counts.model_dump() == {"total": 41, "completed": 40, "failed": 1}
        assert done.usage.output_tokens == 80
        answers, errors = read(client, done.output_file_id), read(client, done.error_file_id)
        assert len(answers) == 40
        assert answers["7"]["response"]["body"]["choices"][0]["message"]["content"] == "word word"
        assert errors["bad"]["response"]["body"]["error"]["param"] == "n"
        assert [one.id for one in client.batches.list(limit=1)] == [batch.id]
        assert {one.purpose for one in client.files.list()} == {"batch", "batch_output"}

        other = client_of("b")
        assert not list(other.batches.list())
        assert not list(other.files.list())
        for ask in (
            lambda: other.batches.retrieve(batch.id),
            lambda: other.batches.cancel(batch.id),
            lambda: other.files.content(done.output_file_id),
            lambda: other.files.delete(done.output_file_id),
            lambda: create(other, [request("x")], input_file_id=done.input_file_id),
        ):
            with pytest.raises((openai.NotFoundError, TypeError)) as refused:
                ask()
            assert getattr(refused.value, "status_code", 404) == 404

        assert client.files.delete(done.output_file_id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(done.output_file_id)


def test_a_file_that_is_no_batch_fails_with_its_lines(tmp_path):
    with endpoint(tmp_path, MadeModel()) as client_of:
        client = client_of("a")
        failed = wait_for(client, create(client, [request("1"), {"custom_id": "1"}]), "failed", "completed")
        assert failed.status == "failed"
        assert [(error.line, error.code, error.param) for error in failed.errors.data] == [
            (2, "invalid_method", "method")
        ]
        with pytest.raises(openai.BadRequestError) as refused:
            create(client, [request("1")], endpoint="/v1/embeddings")
        assert refused.value.param == "endpoint"
        with pytest.raises(openai.BadRequestError):
            client.batches.cancel(failed.id)


def test_a_batch_goes_on_after_a_restart_and_is_cancelled(tmp_path):
    slow = MadeModel()
    slow.pause = 0.05
    few = {"batches": {"max_concurrent_requests": 2}}
    with endpoint(tmp_path, slow, **few) as client_of:
        client = client_of("a")
        batch, other = create(client, list(map(request, map(str, range(60))))), create(client, [request("x")])
        wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 2, "some answers")
    with endpoint(tmp_path, MadeModel(), **few) as client_of:
        client = client_of("a")
        done = wait_for(client, batch, "completed", "failed")
        assert done.request_counts.completed == len(read(client, done.output_file_id)) == 60
        assert wait_for(client, other, "completed").request_counts.completed == 1
    with endpoint(tmp_path, slow, **few) as client_of:
        client = client_of("a")
        batch = create(client, list(map(request, map(str, range(60)))))
        wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 2, "some answers")
        assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        done = wait_for(client, batch, "cancelled")
        assert 2 < len(read(client, done.output_file_id)) == done.request_counts.completed < 60


def test_a_batch_expires(tmp_path):
    slow = MadeModel()
    slow.pause = 0.1
    with endpoint(tmp_path, slow, batches={"max_concurrent_requests": 1}) as client_of:
        client = client_of("a")
        batch = create(client, list(map(request, map(str, range(30)))), completion_window="1s")
        done = wait_for(client, batch, "expired", "completed")
        assert done.status == "expired"
        errors = read(client, done.error_file_id)
        assert len(errors) == done.request_counts.failed > 0
        assert {line["error"]["code"] for line in errors.values()} == {"batch_expired"}
        assert done.request_counts.completed + done.request_counts.failed == 30
