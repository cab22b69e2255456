"""The whole of training on Ray Train: it learns, whatever the number of workers, and survives being killed."""

import json
import os
import re
from pathlib import Path
from statistics import fmean

import pytest
from ray.train import WorkerGroupError

from eshop_ray import artifacts
from eshop_ray.cluster import cpu_environment
from eshop_ray.config import LoraSection, TrackingSection
from eshop_ray.errors import UserError
from eshop_ray.training import loop, trainer
from eshop_ray.training.checkpoint import STATE, find_damage
from eshop_ray.training.learner import Learner
from tests.training.runs import ENVIRON, NUM_STEPS, STEPS_MADE, kill_once, train
from tests.training.tracked import read_metric, read_runs

pytestmark = pytest.mark.usefixtures("ray_session")

CHECKPOINT_STEPS = 3


def test_one_worker_learns(uninterrupted):
    config, summary, losses = uninterrupted
    counted = {name: summary[name] for name in ("num_rows", "num_errors", "num_too_long", "num_cut", "num_steps")}
    assert counted == {"num_rows": 24, "num_errors": 0, "num_too_long": 0, "num_cut": 0, "num_steps": NUM_STEPS}
    assert fmean(losses[-4:]) < 0.7 * fmean(losses[:4])
    folder = config.run_dir / "adapter"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
    manifest = artifacts.read_manifest(folder, job="train_lora")
    trained_on = {"trained_on": ["classification", "ner_tagging"]}
    assert (manifest.details, manifest.digest) == ({**summary, **trained_on}, artifacts.digest_dir(folder))


def test_worker_starts_with_the_environment_of_cpus(uninterrupted):
    (path,) = uninterrupted[0].run_dir.glob(f"training/*/{ENVIRON}")
    assert {f"{name}={value}" for name, value in cpu_environment().items()} <= set(path.read_text().split("\0"))


@pytest.mark.slow  # test_sharding.py has two processes learn the same
def test_two_workers_learn_the_same(make_config, uninterrupted):
    _, losses = train(make_config(num_epochs=3, num_workers=2))
    assert losses == pytest.approx(uninterrupted[2], abs=1e-4)


def test_killed_worker_goes_on_from_the_last_checkpoint(make_config, uninterrupted, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "train_worker", kill_once(tmp_path, Learner, loop.train_worker))
    _, losses = train(make_config(num_epochs=3, checkpoint_steps=CHECKPOINT_STEPS))
    assert (tmp_path / "steps").read_text() == STEPS_MADE
    assert losses == pytest.approx(uninterrupted[2], abs=1e-4)


@pytest.mark.parametrize(
    ("damaged", "steps_made"),
    [
        pytest.param(0, STEPS_MADE, id="whole", marks=pytest.mark.slow),
        pytest.param(1, "1" * 7 + "2" * 9, id="damaged", marks=pytest.mark.slow),
    ],
)
def test_rerun_goes_on_where_a_dead_run_stopped(make_config, uninterrupted, monkeypatch, tmp_path, damaged, steps_made):
    """A checkpoint that was not written to its end does not count; the one before it does."""
    config = make_config(num_epochs=3, checkpoint_steps=CHECKPOINT_STEPS, max_failures=0)
    monkeypatch.setattr(trainer, "train_worker", kill_once(tmp_path, Learner, loop.train_worker))
    with pytest.raises(WorkerGroupError):
        train(config)
    assert not (config.run_dir / "adapter").exists()
    checkpoints = sorted(filter(Path.is_dir, config.run_dir.glob("training/*/checkpoints/checkpoint_*")))
    for folder in checkpoints[len(checkpoints) - damaged :]:
        os.truncate(folder / STATE, 1000)
    _, losses = train(config)
    assert (tmp_path / "steps").read_text() == steps_made
    assert losses == pytest.approx(uninterrupted[2], abs=1e-4)


def test_nothing_to_learn_from_is_refused(make_config):
    config = make_config(max_row_length=10)
    with pytest.raises(UserError, match=r"no training row of any task can be used; raise `train\.max_row_length`"):
        train(config)
    assert not (config.run_dir / "adapter").exists()


def test_task_without_rows_is_refused(make_config):
    config = make_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"tasks": ("ner_tagging", "generation")})})
    with pytest.raises(UserError, match="no training row of generation can be used"):
        train(config)


@pytest.mark.slow  # a training of its own for one message
def test_loss_that_is_no_number_stops_the_run_at_once_and_names_the_rows(make_config):
    """A rate beyond all reason: the first step is made, and leaves weights with which the second cannot be."""
    config = make_config(learning_rate=1e30, warmup_share=0.0, checkpoint_steps=1)
    with pytest.raises(UserError, match=r"step 2 of 4: the loss or its gradient is not finite, rows \d\d, ") as caught:
        train(config)
    assert len(set(re.findall(r"\b\d\d\b", str(caught.value)))) == config.train.global_batch_size
    assert not (config.run_dir / "adapter").exists()
    (kept,) = filter(Path.is_dir, config.run_dir.glob("training/*/checkpoints/checkpoint_*"))
    assert find_damage(kept) is None


@pytest.mark.slow  # a training of its own; which checkpoint is kept is decided in one function
def test_checkpoint_with_the_lowest_held_out_loss_becomes_the_adapter(make_config, monkeypatch, tmp_path):
    """And MLflow, told by the controller of Ray Train, knows of every loss, the last one too."""
    monkeypatch.setattr(trainer, "train_worker", spoil_later_steps())
    config = make_config(num_epochs=4, num_held_out=1, checkpoint_steps=4)
    config = config.model_copy(update={"tracking": TrackingSection(uri=str(tmp_path), experiment="shop")})
    summary, losses = train(config)
    history = json.loads((config.run_dir / "adapter" / "training.json").read_text())
    measured = {one["step"]: one["mean"] for one in history["held_out"]}
    assert (summary["num_rows"], summary["num_held_out"], len(losses)) == (22, 2, 16)
    assert list(measured) == [0, 4, 8, 12, 16]
    assert all(set(one["losses"]) == {"classification", "ner_tagging"} for one in history["held_out"])
    assert history["best_step"] == summary["best_step"] == min(measured, key=measured.get)
    assert 0 < history["best_step"] < 16
    assert list(read_metric(tmp_path, "loss").values()) == pytest.approx(losses)
    assert set(read_metric(tmp_path, "held_out/ner_tagging")) == {4, 8, 12, 16}
    assert read_runs(tmp_path)[1][0].info.status == "FINISHED"


def spoil_later_steps():
    """Return a worker whose rate is far too high in the last epoch."""

    def train_worker(settings):
        original = Learner.step
        Learner.step = lambda self, share, rate: original(self, share, 0.3 if share.step >= 12 else rate)
        loop.train_worker(settings)

    return train_worker


def test_training_fingerprint_follows_what_determines_the_adapter(make_config):
    config = make_config()
    first = trainer.fingerprint_training(config, "records", "model")
    same = config.model_copy(
        update={"train": config.train.model_copy(update={"checkpoint_steps": 7, "num_workers": 4})}
    )
    other = config.model_copy(update={"train": config.train.model_copy(update={"num_epochs": 7})})
    assert trainer.fingerprint_training(same, "records", "model") == first
    assert first not in (
        trainer.fingerprint_training(other, "records", "model"),
        trainer.fingerprint_training(config.model_copy(update={"seed": 1}), "records", "model"),
        *(
            trainer.fingerprint_training(config.model_copy(update={"lora": lora}), "records", "model")
            for lora in (
                LoraSection(r=8, lora_alpha=16, freeze_a=True),
                LoraSection(r=8, lora_alpha=16, orthogonal=(1, 3)),
            )
        ),
        trainer.fingerprint_training(config, "other records", "model"),
        trainer.fingerprint_training(config, "records", "other model"),
    )
