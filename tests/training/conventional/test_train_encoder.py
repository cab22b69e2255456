"""The whole road of a conventional model on real Ray: records, training, answers, scores; and a run that is killed."""

import json
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.train import WorkerGroupError

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.jobs import batch_infer, evaluate, train_encoder
from eshop_ray.schema import RECORD_SCHEMA, encode
from eshop_ray.training.conventional import trainer
from eshop_ray.training.conventional.learner import ConventionalLearner
from tests.conventional_models import COLORS, THINGS, write_encoder, write_t5

pytestmark = pytest.mark.usefixtures("ray_session")

CHECKPOINT_STEPS = 3


def build_records():
    """Queries to tag, texts to classify and questions with options, easy to learn by heart."""
    for color in COLORS:
        for thing in THINGS:
            tokens, tags = [color, "wool", thing], ["B-color", "B-material", "O"]
            yield "ner_tagging", {"tokens": tokens}, {"tokens": tokens, "tags": tags}
            yield "classification", {"text": f"{color} {thing}", "labels": list(THINGS)}, thing
            options = sorted([color, thing])
            yield "multiple_choice", {"question": "what color", "options": options}, options.index(color)


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes a config whose run directory holds the records of both splits already."""

    def make(source, records=(), **conventional):
        settings = {
            "learning_rate": 0.01,
            "global_batch_size": 12,
            "num_epochs": 15,
            "torch_threads": 1,
            **conventional,
        }
        config = Config(
            name="run",
            run_root=str(tmp_path / "runs"),
            conventional={"source": str(source), **settings},
            infer={
                "engine": "encoder" if settings.get("architecture", "encoder") == "encoder" else "seq2seq",
                "cpu_threads": 1,
            },
        )
        rows = [
            {
                "id": f"{number:02d}",
                "task": task,
                "group": None,
                "metric": None,
                "target": encode(target),
                "fields": encode(fields),
            }
            for number, (task, fields, target) in enumerate([*build_records(), *records])
        ]
        for task in {row["task"] for row in rows}:
            for split in ("train", "dev"):  # what is bad is learned from, not asked
                folder = config.records_dir / f"task={task}" / f"split={split}"
                folder.mkdir(parents=True)
                chosen = rows if split == "train" else rows[: len(rows) - len(records)]
                own = [row for row in chosen if row["task"] == task]
                pq.write_table(pa.Table.from_pylist(own, schema=RECORD_SCHEMA), folder / "part-00000.parquet")
        artifacts.write_manifest(config.records_dir, "records", "inputs", {})
        return config

    return make


def test_whole_road_of_an_encoder(make_config, tmp_path, caplog):
    """Three tasks and their heads learn by heart what they are asked; a row that does not fit is counted, not scored
    in silence; a second run of each job has nothing to do."""
    bad = ("ner_tagging", {"tokens": ["red", "tent"]}, {"tokens": ["red", "tent"], "tags": ["O"]})
    config = make_config(write_encoder(tmp_path / "bert"), [bad])
    for job in (train_encoder, batch_infer, evaluate):
        job.run(config)
    manifest = artifacts.read_complete(config.run_dir / "conventional", job="train_encoder")
    assert {name: manifest.details[name] for name in ("num_rows", "num_errors", "pretrained", "architecture")} == {
        "num_rows": 48,
        "num_errors": 1,
        "pretrained": True,
        "architecture": "encoder",
    }
    metrics = json.loads((config.run_dir / "conventional_answers" / "metrics.json").read_text())
    groups = {name: (group["num_rows"], group["num_errors"]) for name, group in metrics["groups"].items()}
    assert groups == dict.fromkeys(("classification", "multiple_choice", "ner_tagging"), (16, 0))
    assert (metrics["engine"], metrics["pretrained"]) == ("encoder", True)
    assert metrics["score"] > 0.9
    caplog.clear()
    with caplog.at_level("INFO"):
        train_encoder.run(config)
        batch_infer.run(config)
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "the conventional model is up to date",
        "predictions are up to date",
    ]


@pytest.mark.slow  # the road is the encoder's; what such a model learns and writes is tried in one process
def test_whole_road_of_a_random_t5(make_config, tmp_path):
    """Weights are drawn by the seed, and every file says that they were."""
    config = make_config(write_t5(tmp_path / "t5"), architecture="seq2seq", num_epochs=8, num_held_out=1)
    config = config.model_copy(update={"data": config.data.model_copy(update={"tasks": ("classification",)})})
    for job in (train_encoder, batch_infer, evaluate):
        job.run(config)
    metrics = json.loads((config.run_dir / "conventional_answers" / "metrics.json").read_text())
    assert (metrics["engine"], metrics["pretrained"], metrics["groups"]["classification"]["num_rows"]) == (
        "seq2seq",
        False,
        16,
    )
    assert metrics["groups"]["classification"]["num_errors"] == 0
    history = json.loads((config.run_dir / "conventional" / "training.json").read_text())
    assert history["held_out"][-1]["mean"] < history["held_out"][0]["mean"]
    assert "random weights" in (config.run_dir / "report.md").read_text()
    with pytest.raises(UserError, match=r"`conventional\.architecture` is causal, and .* was trained as seq2seq"):
        batch_infer.run(Config(**{**config.model_dump(), "conventional": {"architecture": "causal"}}))


@pytest.mark.slow  # two trainings; the loop and its checkpoints are those of test_trainer.py
def test_killed_run_goes_on_from_its_checkpoint(make_config, tmp_path, monkeypatch):
    config = make_config(
        write_encoder(tmp_path / "bert"), num_epochs=3, checkpoint_steps=CHECKPOINT_STEPS, max_failures=0
    )
    monkeypatch.setattr(trainer, "train_worker", kill_once(tmp_path))
    with pytest.raises(WorkerGroupError):
        train_encoder.run(config)
    assert not (config.run_dir / "conventional").exists()
    train_encoder.run(config)
    assert (tmp_path / "steps").read_text() == "1" * 7 + "2" * 6
    losses = json.loads((config.run_dir / "conventional" / "training.json").read_text())["losses"]
    assert (len(losses), losses[-1] < losses[0]) == (12, True)


def kill_once(folder):
    """Return a worker that notes its steps in `folder` and, the first time, dies before its eighth.

    It dies as soon as Ray Train, which looks from time to time, has taken note of the checkpoint of step 6.
    """
    killed, steps = folder / "killed", folder / "steps"

    def die(storage):
        snapshot = storage / "checkpoint_manager_snapshot.json"
        deadline = time.monotonic() + 60
        while not (snapshot.exists() and '"step":6' in snapshot.read_text()):
            assert time.monotonic() < deadline, "Ray Train took no note of the checkpoint of step 6"
            time.sleep(0.1)
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    train_worker = trainer.train_worker

    def train_and_die(settings):
        original, attempt, count = ConventionalLearner.step, "2" if killed.exists() else "1", 0

        def step(*args):
            nonlocal count
            count += 1
            if attempt == "1" and count == 8:
                die(Path(settings["workdir"]) / "checkpoints")
            with steps.open("a") as stream:
                stream.write(attempt)
            return original(*args)

        ConventionalLearner.step = step
        train_worker(settings)

    return train_and_die
