"""A node is lost: training goes on with the worker that is left, from the last checkpoint, to the same end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eshop_ray.config import write_config
from tests.processes import stop
from tests.training.runs import NUM_STEPS
from tests.waiting import wait_for_exit

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # test_trainer.py kills a worker, on one node
def test_training_goes_on_with_one_worker_when_the_other_is_lost(make_config, tmp_path, uninterrupted):
    config = make_config(num_epochs=3, checkpoint_steps=2, num_workers=(1, 2), cpus_per_worker=2)
    write_config(config)
    command = [sys.executable, "-m", "tests.training.elastic_run", config.run_dir / "config.yaml", tmp_path / "steps"]
    soon = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2"}  # seconds after which a smaller group is tried
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | soon, stderr=said, start_new_session=True)
    try:
        status = wait_for_exit(process, "the training on two nodes", 400)
    finally:
        stop(process, signal.SIGKILL, 10)
    assert status == 0, (tmp_path / "said").read_text()[-3000:]
    made = [tuple(map(int, line.split())) for line in (tmp_path / "steps").read_text().splitlines()]
    assert {num_workers for _, num_workers in made} == {1, 2}
    assert {step for step, _ in made} == set(range(NUM_STEPS))
    assert (made[0], made[-1]) == ((0, 2), (NUM_STEPS - 1, 1))
    losses = json.loads((config.run_dir / "adapter" / "training.json").read_text())["losses"]
    assert losses == pytest.approx(uninterrupted[2], abs=1e-3)
