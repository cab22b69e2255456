"""The server as a user starts it, with the real model, and jobs that join it by its token."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from eshop_ray.config import ModelSection
from eshop_ray.models import fetch_model
from tests.inference.engines.endpoint import ask, check_endpoint, read_answers, write_records, write_run
from tests.processes import find_processes, free_port, stop
from tests.waiting import wait_for_exit, wait_until

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("starts_ray", "starts_vllm")]


def build_environment():
    """A job may join only with the server's token."""
    return {**{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}, "RAY_AUTH_MODE": "token"}


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    write_run(folder, fetch_model(ModelSection()), serve={"port": free_port(), "metrics_port": free_port()})
    return folder


@pytest.fixture(scope="module")
def server(run_root):
    """The server's process."""
    command = [sys.executable, "-m", "jobs.serve", str(run_root / "config.yaml"), "ray.num_cpus=6"]
    with (run_root / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=build_environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        is_up = wait_until(
            lambda: is_answering(f"{find_url(run_root)}/models"),
            "the server",
            is_running=lambda: process.poll() is None,
        )
        assert is_up, (run_root / "log").read_text()[-3000:]
        yield process
    finally:
        stop(process, signal.SIGINT, seconds=60)


def read_config(run_root):
    return yaml.safe_load((run_root / "config.yaml").read_text())


def find_url(run_root):
    port = read_config(run_root)["serve"]["port"]
    return f"http://127.0.0.1:{port}/v1"


def is_answering(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_endpoint_lists_its_model_answers_and_streams(run_root, server):  # noqa: ARG001
    check_endpoint(find_url(run_root))


def test_prometheus_sees_all_that_the_dashboard_shows(run_root, server):  # noqa: ARG001
    """After the test above: an error and a stream have been seen."""
    url = f"http://127.0.0.1:{read_config(run_root)['serve']['metrics_port']}/metrics"
    wanted = set(
        re.findall(r"\bray_(?:eshop|serve|vllm)_\w+", (ROOT / "docs" / "grafana" / "serving.json").read_text())
    )

    def list_missing():
        time.sleep(1)
        with urllib.request.urlopen(url, timeout=30) as response:
            text = response.read().decode()
        return {name for name in wanted if not re.search(rf"^{name}\b", text, re.MULTILINE)}

    wait_until(lambda: not list_missing(), "the metrics")
    assert not list_missing()


def test_second_server_on_the_port_is_refused_before_a_model_loads(run_root, server):  # noqa: ARG001
    second = subprocess.run(
        [sys.executable, "-m", "jobs.serve", str(run_root / "config.yaml")],
        cwd=ROOT,
        env=build_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert second.returncode == 2
    assert "is in use" in second.stderr
    assert "Ray" not in second.stderr


def answer(run_root, name, *overrides):
    """Start the job on the records, in a run of its own; return its process."""
    write_records(run_root / name / "records")
    command = [sys.executable, "-m", "jobs.batch_infer", str(run_root / "config.yaml"), f"name={name}", *overrides]
    command += [f"model.merged_dir={run_root / 'shop' / 'merged'}", "infer.models=[merged]", "infer.cpu_kvcache_gib=1"]
    with (run_root / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env=build_environment(), stdout=log, stderr=log)


def test_batch_job_finds_the_model_warm_and_gets_the_engines_own_answers(run_root, server):
    (raylet,) = (child for child in find_processes(server.pid) if child.name() == "raylet")
    address = next(part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--gcs-address="))
    jobs = {
        "served": answer(run_root, "served", "infer.engine=serve", f"ray.address={address}"),
        "alone": answer(run_root, "alone", "infer.engine=vllm"),
    }
    for name, job in jobs.items():
        assert wait_for_exit(job, f"the job {name}", 300) == 0, (run_root / f"{name}.log").read_text()[-3000:]
    assert "deploying" not in (run_root / "served.log").read_text()
    answers = read_answers(run_root, "served")
    assert answers["classification2"]["error"].startswith("too_long: ")
    assert answers == read_answers(run_root, "alone")


def test_after_sigterm_a_running_answer_is_finished_and_nothing_is_left(run_root, server):
    """The last test of this file."""
    children = find_processes(server.pid)
    with ask(find_url(run_root), stream=True, max_tokens=64, ignore_eos=True) as response:
        first = response.readline()
        server.send_signal(signal.SIGTERM)
        rest = response.read().decode()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith("data: [DONE]")
    assert wait_for_exit(server, "the end of the server", 120) == 0, (run_root / "log").read_text()[-3000:]
    assert wait_until(lambda: not [one for one in children if one.is_running()], "the end of its processes")
