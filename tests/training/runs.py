"""Whole trainings of the tiny model on its 24 rows."""

import json
import shutil
from pathlib import Path

from eshop_ray.training import loop, trainer

NUM_STEPS = 12
"""In batches of 6, three epochs."""
ENVIRON = "environ"


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
