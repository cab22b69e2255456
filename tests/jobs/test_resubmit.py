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


def wait_for_end(head, status, num_tries):
    """A job that has ended is watched for a second more: a namesake given in that second is called dead."""
    events = head.folder / "session_latest" / "logs" / "events" / "event_JOBS.log"
    ended = f"Completed a ray job {NIGHT} with a status"
    wait_until(lambda: events.read_text().count(ended) == num_tries, f"try {num_tries} of {NIGHT} to end")
    assert head.client.get_job_status(NIGHT) == status


@pytest.mark.slow  # eight commands of three seconds
def test_resubmitted_night(head, tmp_path):
    log = tmp_path / "started"
    at_work = f"bash -c 'echo . >> {log}; sleep 300'"

    assert submit(head, at_work).returncode == 0
    wait_until(log.exists, f"{NIGHT} to be at work")
    again = submit(head, at_work)
    assert again.returncode != 0
    assert "already exists" in again.stdout + again.stderr

    head.client.stop_job(NIGHT)
    wait_for_end(head, JobStatus.STOPPED, 1)
    assert submit(head, f"bash -c 'echo . >> {log}; exit 1'").returncode == 0
    wait_for_end(head, JobStatus.FAILED, 2)
    assert submit(head, f"bash -c 'echo . >> {log}'").returncode == 0
    wait_for_end(head, JobStatus.SUCCEEDED, 3)
    assert log.read_text().split() == ["."] * 3
