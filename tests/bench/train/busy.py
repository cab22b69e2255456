"""The real job, first alone, then beside busy processes: workers of Ray Train that share all cores."""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ray

from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.training.trainer import build_trainer
from tests.bench.busy import MAX_SECONDS, load_cores
from tests.bench.train.ours_ray import StepTimes, prepare_work
from tests.bench.train.rows import read_rows

NUM_EPOCHS = 1000
"""More than are measured: training ends when the measurement does."""
POLL_SECONDS = 0.2


def run(job):
    """Return rows per second, `quiet` and `busy`, each over `num_steps` steps of workers that are warm."""
    workers = {"num_workers": job["num_workers"], "torch_threads": max(1, job["threads"] // job["num_workers"])}
    settings = {"num_epochs": NUM_EPOCHS, **workers}
    config = Config.model_validate({**job["config"], "train": {**job["train"], **settings}})
    with TemporaryDirectory() as folder:
        start_ray(config.ray, num_cpus=job["num_workers"] + 2)
        times = StepTimes.remote()
        work = prepare_work(read_rows(job["rows_path"]), config, Path(folder))
        trainer = build_trainer(config, Path(job["model_dir"]), work, times)
        training = threading.Thread(target=trainer.fit, daemon=True)
        training.start()
        wait_for(training, times, 1, None)
        quiet = measure_speed(training, times, job["num_steps"])
        with load_cores():
            busy = measure_speed(training, times, job["num_steps"])
    # Ray ends with the process: the thread that trains would miss it, and take the process down before its result.
    return {"quiet": quiet, "busy": busy}


def measure_speed(training, times, num_steps):
    """Return rows per second from the end of the step under way to that of `num_steps` more, or of those in time.

    Where not even one is through in time, what one step in that time would be: more than the speed was.
    """
    before = wait_for(training, times, 1, None)
    first = len(before) + 1
    started = time.monotonic()
    steps = wait_for(training, times, first + num_steps, started + MAX_SECONDS)
    if len(steps) < first + 1:
        return before[-1][1] / MAX_SECONDS
    (start, _), *counted = steps[first - 1 : first + num_steps]
    return sum(rows for _, rows in counted) / (counted[-1][0] - start)


def wait_for(training, times, num_steps, deadline):
    """Return the steps made, time and rows each, when there are so many or the deadline is over."""
    while True:
        steps = ray.get(times.read.remote())
        if len(steps) >= num_steps or (deadline and time.monotonic() > deadline):
            return steps
        if not training.is_alive():
            raise SystemExit("training ended before it was measured; see the messages above")
        time.sleep(POLL_SECONDS)
