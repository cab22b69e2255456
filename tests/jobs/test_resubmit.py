"""The commands of a night, given twice: never two jobs at once, and a night that failed goes on."""

import subprocess
import time

import pytest

from tests.jobs.test_job_submit import head  # noqa: F401 - a fixture

NIGHT = "enrich-2026-11-22"
COMMANDS = f"ray job delete {NIGHT}; ray job submit --submission-id {NIGHT} --no-wait -- "


def submit(environment, entrypoint):
    """Give the README's commands."""
    return subprocess.run(
        ["bash", "-c", COMMANDS + entrypoint], env=environment, capture_output=True, text=True, timeout=120
    )


def wait_for(environment, status):
    deadline = time.monotonic() + 60
    while True:
        command = ["ray", "job", "status", NIGHT]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        text = found.stdout + found.stderr
        if status in text.lower():
            return
        assert time.monotonic() < deadline, text[-1000:]


@pytest.mark.ray
def test_resubmitted_night(head, tmp_path):  # noqa: F811
    address, environment = head
    environment = {**environment, "RAY_API_SERVER_ADDRESS": address}
    log = tmp_path / "started"
    at_work = f"bash -c 'echo . >> {log}; sleep 300'"

    assert submit(environment, at_work).returncode == 0
    wait_for(environment, "running")
    again = submit(environment, at_work)
    assert again.returncode != 0
    assert "already exists" in again.stdout + again.stderr

    subprocess.run(["ray", "job", "stop", NIGHT], env=environment, capture_output=True, timeout=60, check=True)
    wait_for(environment, "stopped")
    assert submit(environment, f"bash -c 'echo . >> {log}; exit 1'").returncode == 0
    wait_for(environment, "failed")
    assert submit(environment, f"bash -c 'echo . >> {log}'").returncode == 0
    wait_for(environment, "succeeded")
    assert log.read_text().split() == ["."] * 3
