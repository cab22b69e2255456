"""A process with an endpoint on Ray Serve before a model that is made up: it prints what clients and Prometheus see.

Usage: python -m tests.serving.seen_endpoint FOLDER. Without a folder it starts Ray alone, with no port for metrics.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import psutil
import ray
from ray import serve

from eshop_ray.cluster import start_ray
from eshop_ray.config import RaySection, ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.serving.application import QUIET_LOG
from eshop_ray.serving.budget_actor import BudgetDeployment
from eshop_ray.serving.deployments import GatewayDeployment
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.metrics import METRICS
from eshop_ray.serving.proxy import filter_in_proxies
from tests.processes import free_port
from tests.serving.made_model import CHAT, MadeModel

PATIENCE = 60.0
HEADS_OWN = {44217, 44227}
"""Ports on which a head's monitor and dashboard show figures of themselves, and nothing of requests."""
NAMES = ("plain", "a" * 10_240, "\xe4 \xff")
"""Ids that clients give their requests."""


class ModelDeployment:
    """The made model, asked as a replica is."""

    def __init__(self):
        self._model = MadeModel()

    async def describe_model(self):
        return await self._model.describe()

    async def measure_call(self, call):
        return await self._model.measure(call)

    async def answer_call(self, call, request_id):
        async for piece in self._model.ask(call, request_id):
            yield piece


def build(config, folder):
    options = {"ray_actor_options": {"num_cpus": 0}, "logging_config": QUIET_LOG}
    model = serve.deployment(ModelDeployment, name="LLMServer:made", **options).bind()
    budgets = serve.deployment(BudgetDeployment, name="Budgets", **options).bind(str(folder / "ledger"), 60.0, {})
    gateway = serve.deployment(serve.ingress()(GatewayDeployment), name="Gateway", **options)
    return gateway.bind(config, PromptSettings(), model, budgets, None, model)  # no batch is asked for


def ask(url, key, name="plain", **body):
    """Return the status of an answer and the ids of the request in it."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", "X-Request-ID": name}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        response.read()
        return response.status, response.headers.get_all("X-Request-ID")


def wait_until_ready(url, key):
    deadline = time.monotonic() + PATIENCE
    while ask(f"{url}/ready", key)[0] != 200:
        assert time.monotonic() < deadline, "never ready"
        time.sleep(0.2)


def scrape(port):
    """Return what Ray's agent shows, once every metric of ours is there."""
    url = f"http://127.0.0.1:{port}/metrics"
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            text = response.read().decode()
        if all(f"ray_{metric.name}" in text for metric in METRICS) or time.monotonic() > deadline:
            return text
        time.sleep(1)


def list_shown():
    """Return the ports of this Ray that show metrics."""
    own = psutil.Process()
    connections = (one for process in (own, *own.children(recursive=True)) for one in process.net_connections())
    ports = {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return [port for port in sorted(ports - HEADS_OWN) if shows_metrics(port)]


def shows_metrics(port):
    with (
        suppress(OSError, HTTPException),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as found,
    ):
        return b"# HELP" in found.read()
    return False


def main(folder):
    key, line = make_key("search", tokens_per_day=100_000)
    path = folder / "keys"
    path.touch(0o600)
    path.write_text(write_line(line))
    config = ServeSection(port=free_port(), api_keys_file=str(path))
    filter_in_proxies()
    metrics_port = free_port()
    start_ray(RaySection(num_cpus=4), num_cpus=1, metrics_port=metrics_port)
    serve.start(http_options={"host": config.host, "port": config.port}, logging_config=QUIET_LOG)
    serve.run(build(config, folder), name="eshop", route_prefix="/")
    url = f"http://{config.host}:{config.port}"
    wait_until_ready(url, key)
    chat = f"{url}/v1/chat/completions"
    answers = [ask(chat, key, name, **CHAT, max_tokens=2, stream=True) for name in NAMES]
    refused = ask(chat, "esk-wrong", **CHAT)
    shown = {"answers": answers, "refused": refused, "metrics": scrape(metrics_port), "ports": list_shown()}
    assert shown["ports"] == [metrics_port]
    (folder / "seen.json").write_text(json.dumps(shown))
    ray.shutdown()


def start_without_port():
    start_ray(RaySection(num_cpus=2), num_cpus=1, metrics_port=None)
    assert ray.get(ray.put(1)) == 1
    time.sleep(5)  # Ray's agent is up after Ray is
    print(json.dumps(list_shown()))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1])) if sys.argv[1:] else start_without_port()
