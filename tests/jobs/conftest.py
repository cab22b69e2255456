"""A Ray head that takes jobs, one for all tests that submit any."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ray.job_submission import JobSubmissionClient

from tests.processes import find_processes, free_port
from tests.waiting import wait_until

TOKEN = "0123456789abcdef" * 4


@pytest.fixture(scope="session")
def head(tmp_path_factory, starts_ray):  # noqa: ARG001
    """A head that asks for a token: its `address`, `client` and `folder`, and the `environment` of commands."""
    folder = tmp_path_factory.mktemp("head")
    temp_dir = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets below it: its path must be short
    (folder / "token").write_text(TOKEN)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            build_command(temp_dir, port), env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        client = wait_until(lambda: connect(address), "the head", is_running=lambda: process.poll() is None)
        assert client, (folder / "log").read_text()[-2000:]
        # The head answers before its agent takes jobs: only a job that ran shows that both do.
        wait_until(lambda: has_run_a_job(client), "the head to take a job")
        yield SimpleNamespace(address=address, environment=environment, client=client, folder=Path(temp_dir))
    finally:
        end_at_once(process)
        shutil.rmtree(temp_dir, ignore_errors=True)


def build_command(temp_dir, dashboard_port):
    command = ["ray", "start", "--head", "--block", "--num-cpus=6", f"--port={free_port()}", "--include-dashboard=true"]
    # The default port may be taken by another Ray of this machine; without its agent a head takes no jobs.
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-port={dashboard_port}"]
    return [*command, "--disable-usage-stats", f"--temp-dir={temp_dir}"]


def connect(address):
    with contextlib.suppress(ConnectionError):
        return JobSubmissionClient(address, headers={"Authorization": f"Bearer {TOKEN}"})


def has_run_a_job(client):
    try:
        name = client.submit_job(entrypoint="true")
    except RuntimeError:  # its agent is not up
        return False
    return wait_until(lambda: client.get_job_status(name).is_terminal(), "a job of the head to end")


def end_at_once(process):
    """Asked to stop, a head takes half a minute."""
    everything = [psutil.Process(process.pid), *find_processes(process.pid)]
    for one in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
