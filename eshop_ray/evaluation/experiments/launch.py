"""Running the commands of many runs beside each other, each a Ray job of its own in one cluster."""

import ctypes
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import ray

from eshop_ray.cluster import start_ray
from eshop_ray.config import Config, RaySection, write_config
from eshop_ray.config.loading import render_config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.chains import Chain, Needs, count_room, share_cores
from eshop_ray.reporting.words import format_seconds

logger = logging.getLogger(__name__)

LOG = "log.txt"
"""In a run's directory: what its jobs said, one try after the other."""

_POLL_SECONDS = 0.2
_END_SECONDS = 10.0
_ERROR = "error: "
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that came to no end."""

    name: str
    """Of the run."""
    reason: str
    """Which of its jobs failed, why, and where its log is."""


@dataclass(slots=True)
class _Child:
    """A job at work."""

    chain: Chain
    number: int
    """Which of the chain's commands."""
    process: subprocess.Popen[bytes]
    log_begin: int
    """Bytes of the log that belong to what ran before."""
    started: float = field(default_factory=time.monotonic)

    @property
    def label(self) -> str:
        """The run and the job, for a person."""
        return f"{self.chain.config.name} {self.chain.commands[self.number][-1]}"


def run_chains(config: Config, chains: Sequence[Chain], needs: Needs) -> None:
    """Run all chains as `try_chains` does, at most `experiment.max_parallel` at one time.

    Args:
        config: The experiment's.
        chains: One for each run.
        needs: What each of them reserves.

    Raises:
        UserError: if the cluster has no room for one chain; or, after all others are done, naming every run that
            failed, why, and its log.
    """
    failures = try_chains(config.ray, chains, needs, config.experiment.max_parallel)
    if failures:
        raise UserError(
            f"{len(failures)} of {len(chains)} runs failed; mend the cause and give the same command again, which "
            f"skips what is complete:{list_failures(failures)}"
        )


def list_failures(failures: Iterable[Failure]) -> str:
    """Return a line for each run that failed."""
    return "".join(f"\n  {failure.reason}" for failure in failures)


def try_chains(
    section: RaySection, chains: Sequence[Chain], needs: Needs, max_parallel: int | None = None
) -> list[Failure]:
    """Run all chains, as many at one time as the cluster has room for, each run's output in its `log.txt`.

    The children join the Ray that this process started or joined, and end with it.

    Args:
        section: Which Ray.
        chains: One for each run.
        needs: What each of them reserves.
        max_parallel: Chains at one time; None: as many as there is room for.

    Returns:
        The runs that failed; all others are done.

    Raises:
        UserError: if the cluster has no room for one chain.
    """
    if not chains:
        return []
    start_ray(section, needs.num_cpus, needs.num_gpus)
    limits = {**ray.cluster_resources(), **section.limits}
    num_parallel = count_room(limits, needs, max_parallel or len(chains))
    chains = [share_cores(chain, min(num_parallel, len(chains)), len(ray.nodes())) for chain in chains]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONUNBUFFERED": "1"}
    logger.info("%d runs, %d at one time", len(chains), min(num_parallel, len(chains)))
    return run_processes(chains, num_parallel, environment)


def run_processes(chains: Sequence[Chain], num_parallel: int, environment: Mapping[str, str]) -> list[Failure]:
    """Run the jobs as child processes, and end with those that still run if anything ends this one.

    Args:
        chains: One for each run.
        num_parallel: At one time.
        environment: Of the children.

    Returns:
        The runs that failed.
    """
    waiting, running, failures, num_done = deque(chains), list[_Child](), list[Failure](), 0
    earlier = signal.signal(signal.SIGTERM, _leave)
    try:
        while waiting or running:
            while waiting and len(running) < num_parallel:
                running.append(_start(waiting.popleft(), 0, environment))
            time.sleep(_POLL_SECONDS)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                is_failed, is_last = child.process.returncode != 0, child.number + 1 == len(child.chain.commands)
                num_done += is_failed or is_last
                _report(child, f"{num_done} of {len(chains)} runs")
                if is_failed:
                    failures.append(_explain(child))
                elif not is_last:
                    running.append(_start(child.chain, child.number + 1, environment))
    finally:
        _end(child.process for child in running)
        signal.signal(signal.SIGTERM, earlier or signal.SIG_DFL)
    return failures


def _start(chain: Chain, number: int, environment: Mapping[str, str]) -> _Child:
    """Start one job of a chain, its output behind that of the jobs before it."""
    write_config(chain.config)
    folder = chain.config.run_dir
    with (folder / LOG).open("ab") as log, TemporaryFile() as whole:
        text = render_config(chain.config, is_hidden=False)
        whole.write(text.encode())
        whole.seek(0)
        # What the run directory holds lacks secrets: a config that has any is handed over without being written down.
        has_secrets = text != render_config(chain.config, is_hidden=True)
        log_begin = log.tell()
        process = subprocess.Popen(
            [*chain.commands[number], "/dev/stdin" if has_secrets else str(folder / "config.yaml")],
            env=environment,
            stdin=whole,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends them in order
            preexec_fn=functools.partial(_die_with, os.getpid()),
        )
        child = _Child(chain, number, process, log_begin)
    logger.info("%s: started", child.label)
    return child


def _die_with(parent: int) -> None:
    """Ask the kernel, from within the child, to kill it when the process that started it is gone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _report(child: _Child, progress: str) -> None:
    outcome = "failed" if child.process.returncode else "done"
    seconds = format_seconds(time.monotonic() - child.started)
    logger.info("%s: %s after %s (%s)", child.label, outcome, seconds, progress)


def _explain(child: _Child) -> Failure:
    path = child.chain.config.run_dir / LOG
    reason = _read_error(path, child.log_begin) or _word(child.process.returncode)
    return Failure(child.chain.config.name, f"{child.label}: {reason}; log: {path}")


def _read_error(path: Path, begin: int) -> str | None:
    """Return the last message of a job that knew what was wrong."""
    with path.open("rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").splitlines()
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), None)


def _word(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"it broke off with exit status {status}"


def _leave(number: int, _: object) -> None:
    """Exit in order, children first, then the Ray that was started here, which Ray's own handler leaves behind."""
    sys.exit(128 + number)


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End what still runs, first by asking."""
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.terminate()
    deadline = time.monotonic() + _END_SECONDS
    for process in left:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
