"""A batch at the endpoint as `eshop serve` deploys it, with vLLM behind: the answers are those of its addresses."""

import json
import time

import openai
import pytest
from ray import serve

from eshop_ray.config import load_config
from eshop_ray.jobs import serve as serve_job
from tests.inference.engines.endpoint import FIELDS, predict, write_run
from tests.processes import free_port
from tests.serving.batches.made_batches import write

pytestmark = pytest.mark.slow

CHAT_URL = "/v1/chat/completions"


@pytest.fixture(scope="module")
def endpoint(ray_session, starts_vllm, tiny_model_dir, tmp_path_factory):  # noqa: ARG001
    model = {
        "engine_kwargs": {"dtype": "float32", "max_num_seqs": 16, "max_model_len": 2048},
        "cpu_kvcache_gib": 1,
        "port": free_port(),
    }
    path = write_run(tmp_path_factory.mktemp("serve"), tiny_model_dir, serve=model)
    serve_job.deploy(load_config(str(path)))
    yield f"http://127.0.0.1:{model['port']}/v1"
    serve.shutdown()


def answer(client, url, bodies):
    """Return the results of a batch by `custom_id`."""
    lines = [
        {"custom_id": str(number), "method": "POST", "url": url, "body": body} for number, body in enumerate(bodies)
    ]
    file = client.files.create(file=("in.jsonl", write(lines)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="1h")
    deadline = time.monotonic() + 200
    while batch.status != "completed":
        assert time.monotonic() < deadline, batch
        assert batch.status in ("validating", "in_progress", "finalizing"), batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    results = {}
    for name in (batch.output_file_id, batch.error_file_id):
        for line in client.files.content(name).text.splitlines() if name else ():
            results[json.loads(line)["custom_id"]] = json.loads(line)["response"]
    assert len(results) == len(bodies)
    return [results[str(number)] for number in range(len(bodies))]


def round_off(result):
    """Return a result; which others are computed beside it shows in the last digits of its confidence."""
    return {name: pytest.approx(value, rel=1e-5) if name == "confidence" else value for name, value in result.items()}


def test_answers_of_a_batch_are_those_of_the_addresses(endpoint):
    greedy = {"model": "eshop", "temperature": 0, "max_tokens": 5}
    bodies = [{**greedy, "messages": [{"role": "user", "content": text}]} for text in ("red", "wool scarf")]
    bodies.append({**greedy, "messages": [{"role": "user", "content": "wool " * 5000}]})
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0) as client:
        results = answer(client, CHAT_URL, bodies)
        for body, result in zip(bodies[:2], results[:2], strict=True):
            online = client.chat.completions.create(**body)
            assert result["status_code"] == 200
            assert result["body"]["choices"][0]["message"]["content"] == online.choices[0].message.content
            assert result["body"]["usage"]["completion_tokens"] == online.usage.completion_tokens
        assert results[2]["status_code"] == 400
        assert results[2]["body"]["error"]["code"] == "context_length_exceeded"
        for task in FIELDS:
            found = [result["body"] for result in answer(client, f"/v1/tasks/{task}", FIELDS[task])]
            assert found == list(map(round_off, predict(endpoint, task)))
