"""Trainings of small models: records that are prepared already, whole runs, and workers that die."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray import artifacts
from eshop_ray.schema import RECORD_SCHEMA, encode
from eshop_ray.training import loop, trainer

NUM_STEPS = 12
"""Of 24 rows in batches of 6, three epochs."""
ENVIRON = "environ"
STEPS_MADE = "1" * 7 + "2" * 6
"""By a worker that dies after 7 steps, and by the one that goes on from the checkpoint of step 6."""


def encode_records(records):
    """Return task, fields and target as rows of `RECORD_SCHEMA`, numbered."""
    return [
        {
            "id": f"{number:02d}",
            "task": task,
            "group": None,
            "metric": None,
            "target": encode(target),
            "fields": encode(fields),
        }
        for number, (task, fields, target) in enumerate(records)
    ]


def write_records(records_dir, splits):
    """Leave prepared records: split -> rows."""
    for split, rows in splits.items():
        for task in {row["task"] for row in rows}:
            folder = records_dir / f"task={task}" / f"split={split}"
            folder.mkdir(parents=True)
            own = [row for row in rows if row["task"] == task]
            pq.write_table(pa.Table.from_pylist(own, schema=RECORD_SCHEMA), folder / "part-00000.parquet")
    artifacts.write_manifest(records_dir, "records", "inputs", {})


def train(config):
    """Train and return what was counted and the loss of every step."""
    summary = trainer.train_adapter(config, Path(config.model.source), "f" * 64, {"base": "b" * 64})
    return summary, json.loads((config.run_dir / "adapter" / "training.json").read_text())["losses"]


def note_environment():
    """Return a worker that leaves word of the environment its process was started with, and trains."""

    def train_worker(settings):
        shutil.copyfile("/proc/self/environ", Path(settings["workdir"], ENVIRON))
        loop.train_worker(settings)

    return train_worker


def kill_once(folder, learner, train_worker):
    """Return a worker that notes its steps in `folder` and, the first time, dies before its eighth.

    It dies as soon as Ray Train, which looks from time to time, has taken note of the checkpoint of step 6.

    Args:
        folder: Gets the notes.
        learner: Class whose steps are counted.
        train_worker: What the worker does.
    """
    killed, steps = folder / "killed", folder / "steps"

    def die(storage):
        snapshot = storage / "checkpoint_manager_snapshot.json"
        deadline = time.monotonic() + 60  # a worker cannot import tests/waiting.py
        while not (snapshot.exists() and '"step":6' in snapshot.read_text()):
            assert time.monotonic() < deadline, "Ray Train took no note of the checkpoint of step 6"
            time.sleep(0.1)
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def train_and_die(settings):
        original, attempt, count = learner.step, "2" if killed.exists() else "1", 0

        def step(*args):
            nonlocal count
            count += 1
            if attempt == "1" and count == 8:
                die(Path(settings["workdir"]) / "checkpoints")
            with steps.open("a") as stream:
                stream.write(attempt)
            return original(*args)

        learner.step = step
        train_worker(settings)

    return train_and_die
