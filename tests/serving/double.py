"""The whole application of Ray Serve before a model that is none, and clients that check what they get."""

import asyncio
import itertools
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import ray
from ray import serve

from eshop_ray.config import ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.inference.engines.serve_app import DEPLOYMENT_PREFIX
from eshop_ray.inference.requests import Answer, ApiAnswer
from eshop_ray.serving.application import QUIET_LOG, Folders, compose
from eshop_ray.serving.calls import ModelFacts, PromptCall
from eshop_ray.serving.pulse import Pulse

APP = "eshop"
MODEL = f"{DEPLOYMENT_PREFIX}eshop"
NAMESPACE = "serve"
"""Of the actors of Ray Serve."""
NOBODY = 0
"""The status of a request that found nobody, or whose connection broke."""
HUNG = -1
"""Of one that got nothing within its client's patience."""


def make_model_class():
    """Return the class of a model that repeats the question after its label; workers cannot import it from here."""

    class SlowModel:
        def __init__(self, label, seconds):
            self._label, self._seconds = label, seconds
            self._is_stuck = False
            self._pulse = Pulse(self._generate, seconds=seconds + 2.0)

        async def describe_model(self):
            return ModelFacts(2048)

        async def measure_call(self, _call):
            return 10

        async def stick(self):
            """Hang from now on, as an engine does whose process is alive."""
            self._is_stuck = True

        async def check_health(self):
            await self._pulse.check()

        async def _generate(self):
            await asyncio.sleep(3600 if self._is_stuck else self._seconds)

        async def answer_call(self, call, _request_id):
            await self._generate()
            self._pulse.beat()
            if isinstance(call, PromptCall):
                yield Answer("word", "stop", 10, 1, 0.5)
                return
            text = f"{self._label} {call.body['messages'][-1]['content']}"
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 1}
            yield ApiAnswer(200, json.dumps({"choices": [choice], "usage": usage}), 10, 1)

    return SlowModel


def deploy(folder: Path, port: int, label="one", seconds=0.05, gateway=None, keys=None, **options) -> ServeSection:
    """Have Ray Serve run the application, and return once it has answered.

    Args:
        folder: For the ledger.
        port: To listen on.
        label: How answers begin.
        seconds: That an answer takes.
        gateway: `serve.gateway_config`.
        keys: File of API keys.
        options: Of the model's deployment.
    """
    section = ServeSection(
        port=port,
        api_keys_file=str(keys) if keys else None,
        deployment_config=options,
        request_seconds=120.0,
        drain_seconds=10.0,
    )
    if gateway:
        section = section.model_copy(update={"gateway_config": {**section.gateway_config, **gateway}})
    usual = {"max_ongoing_requests": 8, "graceful_shutdown_timeout_s": 10.0, "health_check_period_s": 1.0}
    deployment = serve.deployment(
        make_model_class(),
        name=MODEL,
        ray_actor_options={"num_cpus": 0},
        logging_config=QUIET_LOG,
        **{**usual, "health_check_timeout_s": 5.0, **options},
    )
    folders = Folders(str(folder / "ledger"), str(folder / "batches"))
    app = compose(section, PromptSettings(), folders, deployment.bind(label, seconds), None)
    serve.start(http_options={"host": section.host, "port": port}, logging_config=QUIET_LOG)
    serve.run(app, name=APP, route_prefix="/")
    return section


@dataclass(frozen=True)
class Got:
    """What became of a request."""

    began: float
    ended: float
    status: int
    text: str
    """Of the answer; empty for a refusal."""
    is_right: bool
    """Whether an answer is one to this very question."""
    retry_after: str | None = None


class Load:
    """Clients that ask one question after another while the block lasts."""

    def __init__(self, port, clients, patience=150.0, pause=0.0):
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self._clients, self._patience, self._pause = clients, patience, pause
        self._is_over = threading.Event()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.got: list[Got] = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()

    async def _run(self):
        async with httpx.AsyncClient(timeout=self._patience, limits=httpx.Limits(max_connections=None)) as http:
            await asyncio.gather(*(self._ask_on(http) for _ in range(self._clients)))

    async def _ask_on(self, http):
        while not self._is_over.is_set():
            self.got.append(await ask(http, self._url, f"question {next(self._numbers)}"))
            if self._pause or self.got[-1].status != 200:
                await asyncio.sleep(max(self._pause, 0.05))


async def ask(http, url, question) -> Got:
    """Ask one question, and check that the answer is one to it."""
    body = {"model": "eshop", "messages": [{"role": "user", "content": question}], "max_tokens": 1}
    began = time.monotonic()
    status, text, is_right, retry_after = NOBODY, "", True, None
    try:
        response = await http.post(url, json=body)
        status, retry_after = response.status_code, response.headers.get("retry-after")
        if status == 200:
            text = response.json()["choices"][0]["message"]["content"]
            is_right = text.endswith(f" {question}")
    except httpx.TimeoutException:
        status = HUNG
    except httpx.TransportError:
        status = NOBODY
    return Got(began, time.monotonic(), status, text, is_right, retry_after)


def count_failed(got):
    """Return the share of requests without an answer."""
    return sum(one.status != 200 for one in got) / max(len(got), 1)


def find_gap(got, since, until):
    """Return the longest time without an answer to anybody between two moments, seconds."""
    ends = sorted(one.ended for one in got if one.status == 200 and since <= one.ended <= until)
    moments = [since, *ends, until]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def count_replicas(name=MODEL):
    """Return the replicas of a deployment that run."""
    return len(list_replicas(name))


def list_replicas(name=MODEL):
    """Return the names of the actors of a deployment's replicas that run."""
    from eshop_ray.serving.start import read_details

    deployment = read_details()["applications"][APP]["deployments"][name]
    return sorted(one["actor_name"] for one in deployment["replicas"] if one["state"] == "RUNNING")


def find_actor(prefix):
    """Return an actor of Ray Serve by the beginning of its name."""
    names = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if one["namespace"] == NAMESPACE]
    return ray.get_actor(next(name for name in names if name.startswith(prefix)), namespace=NAMESPACE)
