"""The commands of a night, given twice: never two jobs at once, and a night that failed goes on."""

import subprocess

import pytest
from ray.job_submission import JobStatus

from tests.waiting import wait_until

NIGHT = "enrich-2026-11-22"
COMMANDS = f"ray job delete {NIGHT}; ray job submit --submission-id {NIGHT} --no-wait -- "


def submit(head, entrypoint):
    """Give the commands of the docs."""
    environment = {**head.environment, "RAY_API_SERVER_ADDRESS": head.address}
    return subprocess.run(
        ["bash", "-c", COMMANDS + entrypoint], env=environment, capture_output=True, text=True, timeout=120
    )


def wait_for(head, status):
    wait_until(lambda: head.client.get_job_status(NIGHT) == status, f"the job {NIGHT} to be {status}", timeout_s=60)


@pytest.mark.slow  # test_kill.py goes on after the same kill, without a submitted job around it
def test_resubmitted_night(head, tmp_path):
    log = tmp_path / "started"
    at_work = f"bash -c 'echo . >> {log}; sleep 300'"

    assert submit(head, at_work).returncode == 0
    wait_for(head, JobStatus.RUNNING)
    again = submit(head, at_work)
    assert again.returncode != 0
    assert "already exists" in again.stdout + again.stderr

    head.client.stop_job(NIGHT)
    wait_for(head, JobStatus.STOPPED)
    assert submit(head, f"bash -c 'echo . >> {log}; exit 1'").returncode == 0
    wait_for(head, JobStatus.FAILED)
    assert submit(head, f"bash -c 'echo . >> {log}'").returncode == 0
    wait_for(head, JobStatus.SUCCEEDED)
    assert log.read_text().split() == ["."] * 3
