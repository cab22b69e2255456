"""The whole of distillation on Ray: a student comes nearer to its teachers, however often it is cut off."""

from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.storage import Storage
from eshop_ray.training import loop, trainer
from eshop_ray.training.distilling import target_store, teaching
from eshop_ray.training.distilling.parents import trace_teaching
from eshop_ray.training.distilling.teaching import PARTS, TARGETS
from eshop_ray.training.learner import Learner
from eshop_ray.training.merging.fold import fold_adapter
from tests.training.runs import NUM_STEPS, STEPS_MADE, kill_once, train
from tests.training.test_trainer import CHECKPOINT_STEPS

pytestmark = pytest.mark.usefixtures("ray_session")

SETTINGS = {"num_epochs": 3, "checkpoint_steps": CHECKPOINT_STEPS}
NUM_PARTS = 2
"""Blocks that are there when a run is cut off."""


@pytest.fixture(scope="module")
def small_blocks():
    """So few rows in a block that there are several of each task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_store, "ROWS_PER_BLOCK", 5)
        yield


@pytest.fixture(scope="module")
def taught(ray_session, make_config, switched_dir, small_blocks):  # noqa: ARG001 - started first
    """A student of the switched model: its config, and its losses."""
    config = make_config(teacher=str(switched_dir), teacher_top_k=16, **SETTINGS)
    return config, train(config)[1]


def measure_distance(model, experts, base_dir, token_rows):
    """Return the mean divergence of a model from each row's own expert, per answer token, by plain Transformers."""
    teachers = {task: fold_adapter(base_dir, folder) for task, folder in experts.items()}
    return fmean(
        float(kl_div(say(model, row), say(teachers[row.task], row), log_target=True, reduction="none").sum(1).mean())
        for row in token_rows
    )


@torch.no_grad()
def say(model, row):
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    return model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1].log_softmax(-1)


@pytest.mark.slow  # a teacher and a student; losses and answers have tests of their own
def test_a_student_comes_nearer_to_the_teacher_of_each_task(taught, experts, tiny_model_dir, token_rows):
    config, losses = taught
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    student = fold_adapter(tiny_model_dir, config.run_dir / "adapter")
    before, after = (measure_distance(model, experts, tiny_model_dir, token_rows) for model in (base, student))
    assert len(losses) == NUM_STEPS
    assert fmean(losses[-4:]) < 0.7 * fmean(losses[:4])
    assert losses[0] < before * 1.5
    assert after < 0.7 * before


class CutOffError(Exception):
    """Stands for the death of the driver."""


@pytest.mark.slow  # two trainings; test_trainer.py kills one, test_target_store.py reads what was written
def test_a_run_that_is_cut_off_again_and_again_ends_with_the_same_numbers(
    taught, teach, switched_dir, monkeypatch, tmp_path
):
    """While the teacher is asked, and while the student learns: blocks and checkpoints are kept."""
    config = teach(switched_dir, **SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", fail_after(Storage.write, NUM_PARTS))
        with pytest.raises(CutOffError):
            train(config)
    (folder,) = config.run_dir.glob("training/*")
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / PARTS).iterdir()}
    assert len(kept) == NUM_PARTS
    monkeypatch.setattr(trainer, "train_worker", kill_once(tmp_path, Learner, loop.train_worker))
    asked = note_asked(monkeypatch)
    _, losses = train(config)
    assert not set(kept) & set(asked)
    assert (tmp_path / "steps").read_text() == STEPS_MADE
    assert losses == taught[1]
    assert not (folder / PARTS).exists()
    (other,) = taught[0].run_dir.glob("training/*")
    assert artifacts.digest_dir(folder / TARGETS) == artifacts.digest_dir(other / TARGETS)


def fail_after(write, num_parts):
    """Return a writing of files that ends the driver at the block after so many."""
    count = 0

    def write_or_fail(self, path, data):
        nonlocal count
        if path.endswith(".targets"):
            count += 1
            if count > num_parts:
                raise CutOffError
        write(self, path, data)

    return write_or_fail


def note_asked(monkeypatch):
    """Return a list that gets the files of blocks that a teacher is asked for."""
    asked, to_table = [], teaching._to_table
    monkeypatch.setattr(teaching, "_to_table", lambda block: asked.append(block.file) or to_table(block))
    return asked


@pytest.mark.slow  # test_sharding.py has two processes learn the same, and targets stand on disk
def test_two_workers_learn_the_same(taught, teach, switched_dir):
    _, losses = train(teach(switched_dir, num_workers=2, **SETTINGS))
    assert losses == pytest.approx(taught[1], abs=1e-4)


def fingerprint(config):
    return trainer.fingerprint_training(config, "records", "model")


def change(config, **train):
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def test_a_config_without_a_teacher_has_the_fingerprint_that_it_always_had(make_config, monkeypatch):
    """So that what was trained before there were teachers is not trained again."""
    parts = []
    monkeypatch.setattr(trainer, "fingerprint", lambda value: parts.append(value) or "digest")
    fingerprint(make_config())
    ((train, lora, seed, versions, records, model),) = parts
    assert set(train) == {
        *("num_epochs", "learning_rate", "warmup_share", "weight_decay", "max_grad_norm", "global_batch_size"),
        *("task_weights", "precision", "num_held_out", "method", "max_row_length", "loss_weighting", "shard"),
        "max_train_rows",
    }
    assert (seed, records, model) == (0, "records", "model")
    assert lora["init_from"] is None
    assert versions["ner_tagging"]


def test_a_fingerprint_follows_the_teacher_and_not_its_place(make_config, experts, switched_dir, tmp_path):
    config = make_config()
    alone = fingerprint(config)
    assert fingerprint(change(config, teacher_top_k=3, teacher_share=0.5)) == alone
    first = fingerprint(change(config, teacher=str(switched_dir)))
    moved = Path(tmp_path, "elsewhere")
    moved.symlink_to(switched_dir)
    assert fingerprint(change(config, teacher=str(moved))) == first
    others = [
        change(config, teacher=str(experts["ner_tagging"])),
        change(config, teacher=str(switched_dir), teacher_top_k=3),
        change(config, teacher=str(switched_dir), teacher_share=0.5),
    ]
    assert len({alone, first, *map(fingerprint, others)}) == 5


def test_parents_name_teacher_and_answers(make_config, switched_dir, tmp_path):
    artifacts.write_manifest(tmp_path, "predictions", "inputs", {})
    config: Config = make_config(teacher=str(switched_dir), answers=str(tmp_path))
    assert trace_teaching(make_config()) == {}
    assert trace_teaching(config) == {
        "teacher": artifacts.read_manifest(switched_dir, "merge_lora").digest,
        "answers": artifacts.read_manifest(tmp_path, "batch_infer").digest,
    }
    assert fingerprint(config) != fingerprint(change(config, answers=None)) != fingerprint(make_config())
