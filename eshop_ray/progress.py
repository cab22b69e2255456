"""Progress that a person can read: a bar on a terminal, a line every few seconds in a log."""

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from eshop_ray.reporting.words import format_seconds

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0
POLL_SECONDS = 1.0

Read = Callable[[], dict[str, int]]


class Board:
    """Where what has been done is added."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, **counts: int) -> None:
        """Add to the counts, e.g. `rows=64, tokens=3100`."""
        self.counts.update(counts)

    def read(self) -> dict[str, int]:
        """Return the counts so far."""
        return dict(self.counts)


@contextmanager
def watch(label: str, num_rows: int) -> Iterator[Board]:
    """Yield a board and show what is added to it until the block ends.

    Args:
        label: What is being done.
        num_rows: Rows at which the work is complete.
    """
    board = Board()
    with _show(board.read, label, num_rows):
        yield board


@contextmanager
def watch_workers(label: str, num_rows: int) -> Iterator[Any]:
    """Yield a board that is an actor, for workers on any node; it costs a process. See `watch`."""
    board = ray.remote(num_cpus=0)(Board).remote()
    try:
        with _show(lambda: ray.get(board.read.remote()), label, num_rows):
            yield board
    finally:
        ray.kill(board)


@contextmanager
def _show(read: Read, label: str, num_rows: int) -> Iterator[None]:
    stopped = threading.Event()
    show = _show_bar if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(target=show, args=(read, label, num_rows, stopped), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=10)


def describe(counts: dict[str, int], num_rows: int, seconds: float) -> str:
    """Return one line: rows done, rows/s, tokens/s, failed rows, time left."""
    if not counts.get("rows"):
        return f"0/{num_rows} rows  starting"
    done, tokens, errors = counts["rows"], counts.get("tokens", 0), counts.get("errors", 0)
    rate = done / seconds
    left = f"{format_seconds((num_rows - done) / rate)} left" if done < num_rows else ""
    parts = [f"{done}/{num_rows} rows", f"{rate:.1f} rows/s", f"{tokens / seconds:.0f} tokens/s", left]
    return "  ".join([*filter(None, parts), *([f"{errors} failed"] if errors else [])])


def _poll(read: Read, stopped: threading.Event, seconds: float) -> Iterator[tuple[dict[str, int], float]]:
    """Yield counts and seconds since the first row, so that an engine's start does not count as slowness."""
    started: float | None = None
    while not stopped.wait(seconds):
        counts = read()
        if counts.get("rows") and started is None:
            started = time.monotonic() - seconds
        yield counts, time.monotonic() - started if started else 0.0


def _show_lines(read: Read, label: str, num_rows: int, stopped: threading.Event) -> None:
    for counts, seconds in _poll(read, stopped, LOG_SECONDS):
        logger.info("%s: %s", label, describe(counts, num_rows, seconds))


def _show_bar(read: Read, label: str, num_rows: int, stopped: threading.Event) -> None:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[line]}"), transient=True) as bar:
        task: TaskID = bar.add_task(label, total=num_rows, line="starting")
        for counts, seconds in _poll(read, stopped, POLL_SECONDS):
            line = describe(counts, num_rows, seconds)
            bar.update(task, completed=counts.get("rows", 0), line=line.partition("  ")[2])
