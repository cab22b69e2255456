"""A node is lost: training goes on with the worker that is left, from the last checkpoint, to the same end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eshop_ray.config import write_config
from eshop_ray.training.trainer import train_adapter

ROOT = Path(__file__).parents[2]
STEPS = {"num_epochs": 6, "checkpoint_steps": 2}


def read_losses(config):
    return json.loads((config.run_dir / "adapter" / "training.json").read_text())["losses"]


@pytest.mark.ray
def test_training_goes_on_with_one_worker_when_the_other_is_lost(make_config, tmp_path, ray_session):  # noqa: ARG001
    config = make_config(**STEPS, num_workers=(1, 2), cpus_per_worker=2)
    write_config(config)
    command = [sys.executable, "-m", "tests.training.elastic_run", config.run_dir / "config.yaml", tmp_path / "steps"]
    soon = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}  # seconds after which a smaller group is tried
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | soon, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = [tuple(map(int, line.split())) for line in (tmp_path / "steps").read_text().splitlines()]
    assert {num_workers for _, num_workers in made} == {1, 2}
    assert {step for step, _ in made} == set(range(24))
    assert (made[0], made[-1]) == ((0, 2), (23, 1))
    steady = make_config(**STEPS)
    train_adapter(steady, Path(steady.model.source), "f" * 64, {"base": "b" * 64})
    assert read_losses(config) == pytest.approx(read_losses(steady), abs=1e-3)
