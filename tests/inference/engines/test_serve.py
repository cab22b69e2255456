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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray.artifacts import fingerprint, write_manifest
from eshop_ray.config import Config, ModelSection, ServeSection
from eshop_ray.inference.engines.serve_app import DIGEST_VARIABLE, build_llm_config
from eshop_ray.models import fetch_model
from eshop_ray.schema import RECORD_SCHEMA, encode
from tests.processes import find_processes, free_port, stop

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "token"}  # a job may join only with the server's token
ENVIRONMENT.pop("RAY_ADDRESS", None)


def test_user_settings_win_and_reach_ray_serve(tmp_path):
    config = ServeSection(model_id="shop", engine_kwargs={"max_num_seqs": 8}, deployment_config={"num_replicas": 3})
    built = build_llm_config(config, tmp_path, "digest")
    assert built["engine_kwargs"]["max_num_seqs"] == 8
    assert built["deployment_config"] == {"num_replicas": 3}
    assert built["model_loading_config"] == {"model_id": "shop", "model_source": str(tmp_path)}
    assert built["accelerator_config"] == {"kind": "cpu"}
    assert built["runtime_env"]["env_vars"][DIGEST_VARIABLE] == "digest"


def test_default_deployment_is_bounded():
    deployment = Config(name="x").serve.deployment_config
    assert deployment["max_ongoing_requests"] < 1000
    assert deployment["autoscaling_config"]["target_ongoing_requests"] <= deployment["max_ongoing_requests"]


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    """A run whose merged model is the base model, and its config, which names a free port."""
    run_root = tmp_path_factory.mktemp("serve")
    merged = run_root / "shop" / "merged"
    merged.mkdir(parents=True)
    for path in fetch_model(ModelSection()).iterdir():
        if path.name != "manifest.json":
            (merged / path.name).symlink_to(path)
    write_manifest(merged, "model", fingerprint("test"), {})
    config = {"name": "shop", "run_root": str(run_root), "serve": {"port": free_port()}}
    (run_root / "config.yaml").write_text(yaml.safe_dump(config))
    return run_root


@pytest.fixture(scope="module")
def server(run_root):
    """A server's process, started as a user starts it."""
    log = (run_root / "log").open("w+")
    command = [sys.executable, "-m", "jobs.serve", str(run_root / "config.yaml"), "ray.num_cpus=6"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    port = yaml.safe_load((run_root / "config.yaml").read_text())["serve"]["port"]
    try:
        wait_until_up(f"http://127.0.0.1:{port}/v1/models", process, log)
        yield process
    finally:
        stop(process, signal.SIGINT, seconds=60)


@pytest.fixture(scope="module")
def endpoint(run_root, server):  # noqa: ARG001
    """Its URL."""
    port = yaml.safe_load((run_root / "config.yaml").read_text())["serve"]["port"]
    return f"http://127.0.0.1:{port}/v1"


def write_records(folder):
    """Rows of three tasks, free and held to a constraint, and one that is too long."""
    labels = ["Garden", "Kitchen", "Toys"]
    fields = {
        "classification": [{"text": text, "labels": labels} for text in ("A spade.", "A pan.", "spade " * 4000)],
        "ner_tagging": [{"tokens": ["red", "wool", "scarf", "(large)"]}, {"tokens": ["steel", "pan"]}],
        "generation": [{"prompt": "Name a color."}, {"prompt": "Name a tool."}],
    }
    for task, rows in fields.items():
        records = [
            {"id": f"{task}{number}", "task": task, "target": encode(""), "fields": encode(row)}
            for number, row in enumerate(rows)
        ]
        place = folder / f"task={task}" / "split=dev"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, schema=RECORD_SCHEMA), place / "part-0.parquet")
    write_manifest(folder, "records", "test", {})


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


def start_batch_infer(run_root, name, *overrides):
    """Start the job on the records, in a run of its own."""
    write_records(run_root / name / "records")
    command = [sys.executable, "-m", "jobs.batch_infer", str(run_root / "config.yaml"), f"name={name}", *overrides]
    command += [f"model.merged_dir={run_root / 'shop' / 'merged'}", "infer.models=[merged]", "infer.cpu_kvcache_gib=1"]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def read_answers(job, run_root, name):
    """Wait for the job and return its rows, by id, and what it said."""
    _, said = job.communicate(timeout=300)
    assert job.returncode == 0, said[-3000:]
    paths = (run_root / name / "predictions" / "split=dev").glob("*.parquet")
    return {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}, said


@pytest.mark.ray
@pytest.mark.engine
def test_batch_job_finds_the_model_warm_and_gets_the_engines_own_answers(run_root, server, endpoint):  # noqa: ARG001
    (raylet,) = (child for child in find_processes(server.pid) if child.name() == "raylet")
    address = next(part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--gcs-address="))
    served = start_batch_infer(run_root, "served", "infer.engine=serve", f"ray.address={address}")
    alone = start_batch_infer(run_root, "alone", "infer.engine=vllm")
    answers, said = read_answers(served, run_root, "served")
    assert "deploying" not in said
    assert answers["classification2"]["error"].startswith("too_long: ")
    assert answers == read_answers(alone, run_root, "alone")[0]
