"""One job at a time per run directory, and how a job ends that is told to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eshop_ray.cli.run_lock import hold_run
from eshop_ray.errors import UserError
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys, time
from pathlib import Path
from eshop_ray.cli.run_lock import hold_run
with hold_run(Path(sys.argv[1]), "train-lora"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_job_is_refused_and_told_who_is_there(tmp_path):
    held = f"`eshop train-lora` (process {os.getpid()})"
    with (
        hold_run(tmp_path / "run", "train-lora"),
        pytest.raises(
            UserError, match=r"is at work there; wait for its end, or give this run another `name`"
        ) as stopped,
        hold_run(tmp_path / "run", "evaluate"),
    ):
        pass
    assert held in str(stopped.value)
    with hold_run(tmp_path / "run", "evaluate"), hold_run(tmp_path / "other", "evaluate"):
        pass


def test_a_job_that_was_killed_holds_nothing(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {holder.pid}"), hold_run(tmp_path, "evaluate"):
        pass
    holder.kill()
    holder.communicate()
    with hold_run(tmp_path, "evaluate"):
        pass


def test_a_run_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set `run_root` to a folder you may write"), hold_run(tmp_path / "file", "x"):
        pass


STUBBORN = """
import subprocess, sys, threading, time
import eshop_ray.cli as cli
from eshop_ray.cli import app

def work():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    threading.Thread(target=time.sleep, args=[600]).start()
    print(child.pid, flush=True)
    time.sleep(600)

app.call = lambda *_: work()
sys.argv = ["eshop", "evaluate"]
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted; what is"), (signal.SIGTERM, 143, "ended by SIGTERM; what is")],
)
def test_a_signal_ends_a_job_and_all_that_it_started(number, status, word):
    job = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = int(job.stdout.readline())
    started = time.monotonic()
    job.send_signal(number)
    _, errors = job.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert job.returncode == status
    assert errors.splitlines() == [f"{word} finished stays, and the same command goes on from there"]
    assert wait_until(lambda: not psutil.pid_exists(child), "the end of the job's child")
