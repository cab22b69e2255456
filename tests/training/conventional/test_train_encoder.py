"""The whole road of a conventional model on real Ray: records, training, answers, scores; and a run that is killed."""

import json

import pytest
from ray.train import WorkerGroupError

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.jobs import batch_infer, evaluate, train_encoder
from eshop_ray.training.conventional import trainer
from eshop_ray.training.conventional.learner import ConventionalLearner
from tests.conventional_models import COLORS, THINGS, write_encoder, write_t5
from tests.training.runs import STEPS_MADE, encode_records, kill_once, write_records

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
        rows = encode_records([*build_records(), *records])
        # What is bad is learned from, not asked.
        write_records(config.records_dir, {"train": rows, "dev": rows[: len(rows) - len(records)]})
        return config

    return make


@pytest.mark.slow  # what it learns, writes and answers is tried in one process, the road of jobs by the LLM's
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
    monkeypatch.setattr(trainer, "train_worker", kill_once(tmp_path, ConventionalLearner, trainer.train_worker))
    with pytest.raises(WorkerGroupError):
        train_encoder.run(config)
    assert not (config.run_dir / "conventional").exists()
    train_encoder.run(config)
    assert (tmp_path / "steps").read_text() == STEPS_MADE
    losses = json.loads((config.run_dir / "conventional" / "training.json").read_text())["losses"]
    assert (len(losses), losses[-1] < losses[0]) == (12, True)
