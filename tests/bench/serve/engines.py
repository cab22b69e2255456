"""Our endpoint against plain `vllm serve`: the same model and arguments, both up, asked in turns."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from eshop_ray.artifacts import fingerprint, write_manifest
from eshop_ray.config import ModelSection, ServeSection
from eshop_ray.inference.engines.vllm_arguments import build_arguments
from eshop_ray.models import fetch_model
from tests.bench.serve.clients import load, write_body
from tests.bench.serve.figures import compare_levels, describe, find_saturation, write_options
from tests.processes import free_port, stop

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
OURS, PEER = "eshop", "vllm"
START_SECONDS = 900.0
OVERLOAD = 5
LEAST_REQUESTS = 16
ENGINE = {"max_model_len": 2048}
PEER_OPTIONS = ("--disable-uvicorn-access-log",)
"""What it would else do for each request, and ours does not: write a line to the terminal."""


def measure_vllm(settings):
    """Rising concurrency, and five times the last of it, on both sides in turns."""
    levels = [*settings.levels, OVERLOAD * settings.levels[-1]]
    with tempfile.TemporaryDirectory() as folder, start_ours(Path(folder)) as ours, start_peer(Path(folder)) as peer:
        addresses = {OURS: ours, PEER: peer}
        for url in addresses.values():
            asyncio.run(ask_level(url, settings.levels[0], settings.new_tokens, 0))
        rounds = []
        for number in range(settings.repeats):
            sides = list(addresses.items())[:: 1 if number % 2 else -1]
            rounds.append({side: measure_levels(url, levels, settings.new_tokens, number) for side, url in sides})
    usual = [{side: dict(list(levels.items())[:-1]) for side, levels in one.items()} for one in rounds]
    saturation = find_saturation(usual, PEER)
    by_level = compare_levels(usual, OURS, PEER)
    settled = [one[OURS][str(levels[-1])]["answered_or_refused_share"] for one in rounds]
    return {
        "vs_vllm_serve": by_level[saturation],
        "vs_vllm_serve_by_level": by_level,
        "saturation": saturation,
        "answered_or_refused_share_of_engine": min(settled),
        "levels": rounds,
    }


def measure_levels(url, levels, new_tokens, seed):
    """Return the figures of each level."""
    figures = {}
    for level in levels:
        figures[str(level)] = describe(asyncio.run(ask_level(url, level, new_tokens, seed + 1)))
        logger.info("%s, %d clients: %.2f requests/s", url, level, figures[str(level)]["requests_per_second"])
    return figures


def ask_level(url, level, new_tokens, seed):
    """Ask with so many clients; prompts differ from those of other levels, rounds and warm-ups."""
    first = 1_000_000 * seed + 10_000 * level
    number = max(LEAST_REQUESTS, 2 * level)
    return load(f"{url}/v1/chat/completions", level, number, lambda index: write_body(first + index, OURS, new_tokens))


@contextmanager
def start_ours(folder):
    """Give the address of `eshop serve`, once it has generated a token."""
    model = fetch_model(ModelSection())
    merged = folder / "bench" / "merged"
    merged.mkdir(parents=True)
    for path in model.iterdir():
        if path.name != "manifest.json":
            (merged / path.name).symlink_to(path)
    write_manifest(merged, "model", fingerprint("bench"), {})
    port = free_port()
    settings = {"port": port, "engine_kwargs": ENGINE, "deployment_config": {"num_replicas": 1, **find_bounds()}}
    config = {"name": "bench", "run_root": str(folder), "serve": settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "jobs.serve", str(folder / "config.yaml"), "ray.num_cpus=4"]
    with run(command, folder / "ours.log", f"http://127.0.0.1:{port}", "/ready") as url:
        yield url


def find_bounds():
    """Return the default bounds, without which replicas are scaled."""
    defaults = ServeSection().deployment_config
    return {name: value for name, value in defaults.items() if name != "autoscaling_config"}


@contextmanager
def start_peer(folder):
    """Give the address of `vllm serve`, once it answers."""
    port = free_port()
    words = write_options(build_arguments(ENGINE, use_gpu=False))
    # What `vllm serve` runs: the command itself asks for a package named vllm, and the CPU's has another name.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(fetch_model(ModelSection()))]
    command += [*words, "--served-model-name", OURS, "--host", "127.0.0.1", "--port", str(port), *PEER_OPTIONS]
    environment = {"VLLM_CPU_KVCACHE_SPACE": str(ServeSection().cpu_kvcache_gib)}
    with run(command, folder / "peer.log", f"http://127.0.0.1:{port}", "/health", environment) as url:
        yield url


@contextmanager
def run(command, log, url, ready, environment=None):
    """Run a server until the block ends."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_ready(process, f"{url}{ready}", log)
        yield url
    finally:
        stop(process, signal.SIGINT, seconds=90)


def wait_until_ready(process, address, log):
    """Return once a server says that it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address, timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{address} does not come up:\n{log.read_text()[-3000:]}")
