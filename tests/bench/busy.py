"""A machine that others use too: as many busy processes as cores, and what speed they leave to us.

Two sides alternate: `defaults`, as OpenMP and Ray have it where nobody says otherwise, and `ours`.
"""

import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from statistics import median

from tests.bench.process import measure

logger = logging.getLogger(__name__)

SIDES = {"defaults": {"GOMP_SPINCOUNT": "300000", "RAY_worker_niceness": "15"}, "ours": {}}
"""Environments. The defaults are said aloud, as a user's own settings: they win over those of this project."""
STATES = ("quiet", "busy")
MAX_SECONDS = 60.0
"""A measurement that is not through by then counts as far as it came."""

LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
"""Ends by itself when its parent is gone."""


@contextmanager
def load_cores():
    """Keep every core busy, one process each at the usual niceness, until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(os.cpu_count() or 1)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure_sides(module, job, repeats, own=None):
    """Return the runs of each side; a run has rows per second by state, and the load average before it.

    Args:
        module: What measures.
        job: What it is told.
        repeats: Of each side.
        own: What our side is told beyond that.
    """
    runs = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side, environment in SIDES.items():
            load = os.getloadavg()[0]
            told = {**job, **(own or {})} if side == "ours" else job
            run = measure(module, {**told, "environment": {**job.get("environment", {}), **environment}})
            runs[side].append({**run, "load_average": load})
            logger.info("%-10s %8.2f rows/s quiet, %8.2f busy", side, *(run[state] for state in STATES))
    return runs


def compute_shares(runs):
    """Return `busy_share`, our speed beside busy processes as a share of our own on a quiet machine, and
    `quiet_share`, ours of the defaults' where nobody else computes. Medians.
    """
    speed = {(side, state): median(run[state] for run in runs[side]) for side in SIDES for state in STATES}
    return {
        "busy_share": speed["ours", "busy"] / speed["ours", "quiet"],
        "quiet_share": speed["ours", "quiet"] / speed["defaults", "quiet"],
    }


def render_busy(runs):
    """Return the lines of a Markdown table."""
    yield from ("| side | rows/s quiet | rows/s busy | repeats |", "|---|---:|---:|---:|")
    for side, repeats in runs.items():
        cells = " | ".join(f"{median(run[state] for run in repeats):.2f}" for state in STATES)
        yield f"| {side} | {cells} | {len(repeats)} |"
