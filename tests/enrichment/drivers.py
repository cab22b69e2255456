"""Nights that run as `python -m jobs.enrich_catalog`, the moments to disturb them at, and a reader beside them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import psutil
from deltalake.exceptions import DeltaError

from tests.processes import find_processes
from tests.waiting import PATIENCE_S, wait_for_exit, wait_until

ROOT = Path(__file__).parents[2]
NODE_PARTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Named like workers, but a node ends with them, and the process that started it."""


class Driver:
    """A night's driver, in a session of its own."""

    def __init__(self, shop, address=None, variables=None, **sections):
        config = shop.write_config(**sections)
        self._log = shop.folder / f"driver-{time.monotonic_ns()}.log"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(variables or {})}
        environment.pop("RAY_ADDRESS", None)
        if address:
            environment["RAY_ADDRESS"] = address
        with self._log.open("w") as log:
            command = [sys.executable, "-m", "jobs.enrich_catalog", config]
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self):
        """Its exit status and what it printed."""
        status = wait_for_exit(self.process, "the night's driver")
        return status, self._log.read_text()

    def succeed(self):
        status, printed = self.wait()
        assert status == 0, printed

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        """End the driver alone; a Ray that it started notices by itself."""
        self.process.kill()
        self.process.wait()

    def kill_session(self):
        """End everything that it started too, wherever these have gone."""
        children = find_processes(self.process.pid)
        self.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=PATIENCE_S)


def kill_one(name, random, parent=None, is_running=lambda: True):
    """SIGKILL one of the processes of a Ray worker's class below a process; return its process id.

    Return None if what is running ended before there was one.
    """
    found = []

    def is_found():
        processes = find_processes(parent, name)
        parts = [part for title in NODE_PARTS for part in find_processes(parent, title)]
        found.extend(process.pid for process in processes if process not in parts)
        return bool(found)

    if not wait_until(is_found, f"a process {name} to kill", is_running=is_running):
        return None
    pid = random.choice(found)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid


class Reader:
    """Reads a table over and over while others write it, as another engine would."""

    def __init__(self, uri):
        self._uri = uri
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.counts = []
        self.troubles = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _read(self):
        while not self._stopped.wait(0.1):
            try:
                table = pl.read_delta(self._uri, columns=["product_id", "task"])
            except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
                self.troubles.append(repr(error))
                continue
            self.counts.append(len(table))
            if table.n_unique() != len(table):
                self.troubles.append(f"{len(table) - table.n_unique()} rows stand twice")
