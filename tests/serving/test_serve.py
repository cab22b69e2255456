"""The endpoint answers as OpenAI's does, streaming included, with the real engine."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from eshop_ray.artifacts import fingerprint, write_manifest
from eshop_ray.config import Config, ModelConfig, ServeSection
from eshop_ray.models import fetch_model
from eshop_ray.serving.app import build_llm_config
from tests.processes import free_port, stop

ROOT = Path(__file__).parents[2]


def test_user_settings_win_and_reach_ray_serve(tmp_path):
    config = ServeSection(model_id="shop", engine_kwargs={"max_num_seqs": 8}, deployment_config={"num_replicas": 3})
    built = build_llm_config(config, tmp_path)
    assert built["engine_kwargs"]["max_num_seqs"] == 8
    assert built["deployment_config"] == {"num_replicas": 3}
    assert built["model_loading_config"] == {"model_id": "shop", "model_source": str(tmp_path)}
    assert built["accelerator_config"] == {"kind": "cpu"}


def test_default_deployment_is_bounded():
    deployment = Config(name="x").serve.deployment_config
    assert deployment["max_ongoing_requests"] < 1000
    assert deployment["autoscaling_config"]["target_ongoing_requests"] <= deployment["max_ongoing_requests"]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """URL of a server started as a user starts it; the base model stands in for a merged one."""
    run_root = tmp_path_factory.mktemp("serve")
    merged = run_root / "shop" / "merged"
    merged.mkdir(parents=True)
    for path in fetch_model(ModelConfig()).iterdir():
        if path.name != "manifest.json":
            (merged / path.name).symlink_to(path)
    write_manifest(merged, "model", fingerprint("test"), {})
    port = free_port()
    config = run_root / "config.yaml"
    config.write_text(yaml.safe_dump({"name": "shop", "run_root": str(run_root), "serve": {"port": port}}))
    log = (run_root / "log").open("w+")
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "jobs.serve", str(config), "ray.num_cpus=6"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/v1/models", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop(process, signal.SIGINT, seconds=60)


def wait_until_up(url, process, log):
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            log.seek(0)
            assert process.poll() is None, log.read()[-3000:]
            assert time.monotonic() < deadline, log.read()[-3000:]
            time.sleep(1)


def ask(endpoint, **values):
    body = {"model": "eshop", "messages": [{"role": "user", "content": "Name a color."}], "max_tokens": 12, **values}
    request = urllib.request.Request(
        f"{endpoint}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=120)


@pytest.mark.ray
@pytest.mark.engine
def test_endpoint_lists_its_model_answers_and_streams(endpoint):
    with urllib.request.urlopen(f"{endpoint}/models", timeout=30) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["eshop"]
    with ask(endpoint, temperature=0) as response:
        answer = json.load(response)["choices"][0]["message"]["content"]
    assert answer
    with ask(endpoint, temperature=0, stream=True) as response:
        events = [line[6:] for line in response.read().decode().split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert len(pieces) > 2
    assert "".join(pieces) == answer
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(endpoint, model="no-such-model")
    assert 400 <= refused.value.code < 500
