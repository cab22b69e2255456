"""A node is lost: training goes on with the workers that are left, from the last checkpoint, to the same end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eshop_ray.config import write_config

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
def test_training_goes_on_with_one_worker_when_the_other_is_lost(make_config, tmp_path):
    losses = []
    for name, num_workers in (("elastic", (1, 2)), ("steady", 1)):
        config = make_config(num_epochs=6, num_workers=num_workers, cpus_per_worker=2, checkpoint_steps=2)
        write_config(config)
        steps = tmp_path / name
        command = [sys.executable, "-m", "tests.training.elastic_run", config.run_dir / "config.yaml", steps]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        losses.append(json.loads((config.run_dir / "adapter" / "training.json").read_text())["losses"])
    made = [tuple(map(int, line.split())) for line in (tmp_path / "elastic").read_text().splitlines()]
    assert {num_workers for _, num_workers in made} == {1, 2}
    assert {step for step, _ in made} == set(range(24))
    assert made[0] == (0, 2)
    assert made[-1] == (23, 1)
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
