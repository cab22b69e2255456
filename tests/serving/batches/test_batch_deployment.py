"""Batches as Ray runs them: an actor for each; its death, or that of whoever keeps the files, loses nothing."""

import json
import os
import signal

import openai
import pytest

from eshop_ray.config import ServeSection
from eshop_ray.serving.application import HEAD_NODE
from eshop_ray.serving.batches.deployment import BatchDeployment
from eshop_ray.serving.budget_actor import BudgetDeployment
from eshop_ray.serving.deployments import GatewayDeployment
from eshop_ray.serving.gateway import MAX_DOWNLOADED_BYTES
from eshop_ray.serving.keys import make_key, write_line
from tests.processes import find_processes, free_port
from tests.serving.batches.made_batches import TASKS, request, write
from tests.serving.batches.made_deployment import MadeDeployment
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

KEY, LINE = make_key("a", tokens_per_day=1_000_000)


@pytest.fixture
def served(ray_session, tmp_path):  # noqa: ARG001
    from ray import serve

    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_text(write_line(LINE))
    asked = tmp_path / "asked"
    asked.mkdir()
    section = ServeSection(
        api_keys_file=str(keys), port=free_port(), batches={"max_concurrent_requests": 2, "max_running": 2}
    )
    light = {"num_cpus": 0, "resources": HEAD_NODE}

    def deploy(cls, **options):
        return serve.deployment(cls, ray_actor_options=light, max_ongoing_requests=1000, **options)

    serve.start(http_options={"host": "127.0.0.1", "port": section.port})
    model = deploy(MadeDeployment).bind(asked)
    budgets = deploy(BudgetDeployment).bind(str(tmp_path / "ledger"), section.request_seconds, light)
    batches = deploy(BatchDeployment).bind(section, TASKS, str(tmp_path / "serve-batches"), light, model, budgets)
    gateway = serve.deployment(serve.ingress()(GatewayDeployment), ray_actor_options=light)
    serve.run(gateway.bind(section, TASKS, model, budgets, None, batches), name="batches", route_prefix="/")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{section.port}/v1", api_key=KEY, max_retries=4) as client:
        yield client, asked
    serve.shutdown()


def create(client, num_lines):
    lines = [request(str(number)) for number in range(num_lines)]
    file = client.files.create(file=("in.jsonl", write(lines)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def follow(client, batch, is_so, what):
    """Return a batch once it is as wanted."""

    def look():
        found = client.batches.retrieve(batch.id)
        assert found.status in ("validating", "in_progress", "finalizing", "cancelling") or is_so(found), found
        return found if is_so(found) else None

    return wait_until(look, what)


def find_actors(name):
    """Return the processes of Ray's actors of a name."""
    (node,) = (process for process in find_processes(os.getpid()) if process.name() == "raylet")
    return find_processes(node.pid, f"ray::{name}")


def kill(name):
    """Kill the processes of Ray's actors of a name, and return how many there were."""
    found = find_actors(name)
    for process in found:
        os.kill(process.pid, signal.SIGKILL)
    return len(found)


def test_a_batch_outlives_whoever_answers_it_and_whoever_keeps_it(served):
    client, asked = served
    batch = create(client, 60)
    follow(client, batch, lambda found: found.request_counts.completed >= 6, "the first answers")
    assert kill("AnsweringActor") == 1
    follow(client, batch, lambda found: found.request_counts.completed >= 20, "another one that answers")
    assert kill("ServeReplica:batches:BatchDeployment") == 1
    done = follow(client, batch, lambda found: found.status == "completed", "the end of the batch")
    answers = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    assert {line["custom_id"] for line in answers} == {str(number) for number in range(60)}
    assert len(answers) == done.request_counts.completed == 60
    assert 60 <= len(list(asked.iterdir())) < 90  # what was under way is asked again
    assert wait_until(lambda: not find_actors("AnsweringActor"), "the end of the actor")


def test_a_cancelled_batch_keeps_what_it_has_and_its_actor_ends(served):
    client, _ = served
    batch = create(client, 200)
    follow(client, batch, lambda found: found.request_counts.completed >= 3, "the first answers")
    client.batches.cancel(batch.id)
    done = follow(client, batch, lambda found: found.status == "cancelled", "the end of the batch")
    answers = client.files.content(done.output_file_id).text.splitlines()
    assert 3 <= len(answers) == done.request_counts.completed < 200
    assert wait_until(lambda: not find_actors("AnsweringActor"), "the end of the actor")


def test_a_file_of_many_blocks_goes_through_ray_and_back(served):
    client, _ = served
    content = os.urandom(20_000_001)
    file = client.files.create(file=("any.bin", content), purpose="batch")
    assert file.bytes == len(content)
    for _ in range(MAX_DOWNLOADED_BYTES // len(content) + 2):  # each gives back the room that it takes up
        assert client.files.content(file.id).read() == content
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-none")
