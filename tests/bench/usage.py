"""Processor time and memory of this process and of all that it starts, those that have ended included."""

import os
import threading

import psutil

INTERVAL_SECONDS = 0.25


class Usage(threading.Thread):
    """Samples while its block runs. A process's last quarter of a second may be missed."""

    def __init__(self):
        super().__init__(daemon=True)
        self._over = threading.Event()
        self._before, self._core_seconds, self._peak = {}, {}, 0

    def __enter__(self):
        self._sample()
        self._before = dict(self._core_seconds)
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()
        self._sample()

    def run(self):
        while not self._over.wait(INTERVAL_SECONDS):
            self._sample()

    def read(self):
        """Return `core_seconds` of all processes, and `peak_mib` of the largest (USS)."""
        spent = sum(seconds - self._before.get(pid, 0) for pid, seconds in self._core_seconds.items())
        return {"core_seconds": spent, "peak_mib": self._peak / 2**20}

    def _sample(self):
        this = psutil.Process(os.getpid())
        for process in (this, *this.children(recursive=True)):
            try:
                times, memory = process.cpu_times(), process.memory_full_info().uss
            except psutil.Error:
                continue
            self._core_seconds[process.pid] = times.user + times.system
            self._peak = max(self._peak, memory)
