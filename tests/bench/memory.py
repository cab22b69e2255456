"""Memory of a process and of all that it starts, sampled from outside."""

import threading
from collections import Counter

import psutil

INTERVAL_SECONDS = 0.5


class Watch(threading.Thread):
    """Keeps the peaks of what `measure(process, *below)` returns, figures by name, until it is stopped."""

    def __init__(self, pid, measure, interval_seconds=INTERVAL_SECONDS):
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._measure = measure
        self._interval_seconds = interval_seconds
        self._peaks = Counter()
        self._is_over = threading.Event()
        self.start()

    def run(self):
        while not self._is_over.wait(self._interval_seconds):
            try:
                below = self._process.children(recursive=True)
            except psutil.NoSuchProcess:
                return
            self._peaks |= Counter(self._measure(self._process, *below))

    def stop(self):
        """Return the peaks in MiB."""
        return Counter({name: round(peak / 2**20) for name, peak in self.stop_exact().items()})

    def stop_exact(self):
        """Return the peaks as they were measured."""
        self._is_over.set()
        self.join()
        return self._peaks
