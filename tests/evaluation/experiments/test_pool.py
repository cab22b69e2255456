import os
from types import SimpleNamespace

import pytest
import ray

from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.pool import MAX_WORKER_DEATHS, run_trials

pytestmark = pytest.mark.usefixtures("ray_session")


def build_actor(folder):
    """Return what starts an actor that notes each trial and does what the trial's name says."""

    class Actor:
        def run(self, trial):
            with (folder / trial.name).open("a") as notes:
                notes.write("x")
            num_tries = len((folder / trial.name).read_text())
            if trial.name == "deadly" or (trial.name == "unlucky" and num_tries < MAX_WORKER_DEATHS):
                os._exit(1)
            if trial.name == "wrong":
                raise ValueError("no such shape")
            if trial.name == "refused":
                raise UserError("set another thing")
            return trial.name, os.getpid()

    return lambda: ray.remote(Actor).options(num_cpus=0).remote()


def run(folder, names, num_workers=2):
    return list(run_trials(build_actor(folder), [SimpleNamespace(name=name) for name in names], num_workers))


def count_tries(folder, name):
    return len((folder / name).read_text())


def test_every_trial_is_run_once_by_so_many_actors(tmp_path):
    names = [f"{number}" for number in range(8)]
    results = run(tmp_path, names)
    assert sorted(name for name, _ in results) == names
    assert all(count_tries(tmp_path, name) == 1 for name in names)
    assert len({pid for _, pid in results}) <= 2


def test_nothing_to_run_starts_nothing(tmp_path):
    assert run(tmp_path, []) == []


def test_trial_whose_actor_dies_is_tried_again(tmp_path):
    results = run(tmp_path, ["one", "unlucky", "two"])
    assert sorted(name for name, _ in results) == ["one", "two", "unlucky"]
    assert count_tries(tmp_path, "unlucky") == MAX_WORKER_DEATHS


@pytest.mark.slow  # three actors; one death has a faster test
def test_trial_that_kills_again_and_again_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^deadly: the worker died 3 times .*lower `search\.num_workers`"):
        run(tmp_path, ["one", "deadly", "two"])
    assert count_tries(tmp_path, "deadly") == MAX_WORKER_DEATHS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", r"^wrong could not be measured \(ValueError: no such shape\)"),
        ("refused", "^refused: set another thing"),
    ],
)
def test_trial_that_fails_is_named(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, ["one", name, "two"])
    assert count_tries(tmp_path, name) == 1
