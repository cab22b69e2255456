"""Filling a matrix: what is complete is found without a process, and a failure stops nobody else."""

import shutil

import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config, ModelSection
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.launch import Failure
from eshop_ray.evaluation.matrix import runs as filling
from eshop_ray.evaluation.matrix.runs import derive, fill, find_pending
from eshop_ray.evaluation.matrix.units import find_units
from eshop_ray.inference.batch import fingerprint_inference
from eshop_ray.models import find_model, model_digest
from eshop_ray.models.switched import write_proofs
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.trainer import fingerprint_training


@pytest.fixture
def config(make_config):
    config = make_config(models=["llm"], strategies=["zero-shot", "single", "mixed", "merged"], sizes=[100])
    config.records_dir.mkdir(parents=True)
    artifacts.write_manifest(config.records_dir, "records", "inputs", {})
    return config


@pytest.fixture
def started(monkeypatch):
    """Chains that were started, and a set of names of runs that are to fail."""
    chains = []
    fails = set()

    def try_chains(section, given, needs, max_parallel):  # noqa: ARG001
        chains.extend(given)
        return [
            Failure(chain.config.name, f"{chain.config.name}: out of room")
            for chain in given
            if chain.config.name in fails
        ]

    monkeypatch.setattr(filling, "try_chains", try_chains)
    monkeypatch.setattr(filling, "find_pending", lambda _config, run, _model_dir: run.commands)
    return chains, fails


def test_a_run_is_the_matrix_config_but_for_its_cell(config, plan):
    config = config.model_copy(update={"merge": config.merge.model_copy(update={"method": "ties", "density": 0.5})})
    by_strategy = {run.strategy: run for run in plan(config)}
    single, merged, base = (derive(config, by_strategy[name]) for name in ("single", "merged", "zero-shot"))
    assert (single.data.tasks, single.data.groups, single.data.max_train_rows) == (("classification",), ("pairs",), 100)
    assert single.records_dir == config.records_dir
    assert single.run_dir == config.run_dir / "cells" / "llm.single.classification.100.seed0"
    assert (single.infer.models, base.infer.models, single.merge.adapters) == (("merged",), ("base",), ())
    assert base.data.max_train_rows is None
    assert (merged.merge.method, merged.merge.density) == ("ties", 0.5)
    assert merged.merge.adapters[1] == str(single.run_dir / "adapter")
    assert Config.model_validate(merged.model_dump()) == merged


def test_adapters_come_before_what_is_merged_of_them(config, plan, started, tmp_path):
    assert fill(config, plan(config), tmp_path) == {}
    assert [chain.config.name for chain in started[0]] == [
        "llm.zero-shot",
        "llm.single.multiple_choice.100.seed0",
        "llm.single.classification.100.seed0",
        "llm.mixed.100.seed0",
        "llm.merged.100.seed0",
    ]


def test_a_soup_of_shards_waits_for_them_and_they_answer_nothing(make_config, started, plan, tmp_path):
    config = make_config(models=["llm"], strategies=["soup"], sizes=[100], soup_shards=2)
    runs = plan(config)
    derived = derive(config, runs[1])
    assert (derived.train.shard, derived.data.max_train_rows) == ((2, 2), 50)
    soup = derive(config, runs[2])
    assert soup.merge.adapters == tuple(str(derive(config, run).run_dir / "adapter") for run in runs[:2])
    assert (soup.merge.method, soup.merge.wise_ft) == ("cat", 0.5)
    assert fill(config, runs, tmp_path) == {}
    assert [[command[-1] for command in chain.commands] for chain in started[0]] == [
        *[["train-lora"]] * 4,
        *[["merge-lora", "batch-infer"]] * 2,
    ]


def test_a_failure_stops_those_that_need_it_alone(config, plan, started, tmp_path):
    chains, fails = started
    fails.add("llm.single.classification.100.seed0")
    assert fill(config, plan(config), tmp_path) == {
        "llm.single.classification.100.seed0": "llm.single.classification.100.seed0: out of room",
        "llm.merged.100.seed0": (
            "llm.merged.100.seed0: it takes what llm.single.classification.100.seed0 makes, which failed"
        ),
    }
    assert "llm.mixed.100.seed0" in [chain.config.name for chain in chains]


@pytest.fixture
def with_distilled(make_config):
    strategies = ["distilled", "single", "mixed", "switched"]
    return make_config(models=["llm"], strategies=strategies, sizes=[100])


def test_a_student_waits_for_its_start_and_its_teacher(with_distilled, plan, started, tmp_path):
    """And goes on from the one, and learns from the other."""
    runs = plan(with_distilled)
    assert fill(with_distilled, runs, tmp_path) == {}
    student = started[0][-1].config
    assert student.name == "llm.distilled.100.seed0"
    assert [chain.config.name for chain in started[0]][-2] == "llm.switched.100.seed0"
    cells = student.run_dir.parent
    assert student.lora.init_from == str(cells / "llm.mixed.100.seed0" / "adapter")
    assert student.train.teacher == str(cells / "llm.switched.100.seed0" / "merged")
    mixed = next(derive(with_distilled, run) for run in runs if run.strategy == "mixed")
    assert (mixed.lora.init_from, mixed.train.teacher) == (None, None)
    assert (student.data, student.train.num_epochs) == (mixed.data, mixed.train.num_epochs)


def test_a_student_without_its_teacher_is_not_trained(with_distilled, plan, started, tmp_path):
    started[1].add("llm.single.classification.100.seed0")
    failed = fill(with_distilled, plan(with_distilled), tmp_path)
    assert failed["llm.distilled.100.seed0"] == (
        "llm.distilled.100.seed0: it takes what llm.switched.100.seed0 makes, which failed"
    )


def test_adapters_that_do_not_go_together_are_their_merge_s_trouble(config, plan, started, tmp_path, monkeypatch):
    def find_pending(config, run, model_dir):  # noqa: ARG001
        if run.strategy == "merged":
            raise UserError("ranks differ")
        return ()

    monkeypatch.setattr(filling, "find_pending", find_pending)
    assert fill(config, plan(config), tmp_path) == {"llm.merged.100.seed0": "llm.merged.100.seed0: ranks differ"}
    assert started[0] == []


def test_a_matrix_without_records_says_what_to_do(make_config):
    with pytest.raises(UserError, match=r"run `eshop prepare-data` with the same config first"):
        find_units(make_config())


def seal(folder, inputs, source=None):
    """Leave an artifact that was made from these inputs."""
    if source:
        shutil.copytree(source, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "content").write_text(inputs)
    artifacts.write_manifest(folder, "any", inputs, {})


def test_fingerprints_say_what_is_left_of_a_run(config, plan, tiny_model_dir):
    runs = {run.strategy: run for run in plan(config)}
    records = artifacts.read_manifest(config.records_dir, "prepare_data").digest
    base = model_digest(tiny_model_dir)
    single = runs["single"]
    derived = derive(config, single).model_copy(update={"model": ModelSection(source=str(tiny_model_dir))})

    def find(**train):
        changed = derived.model_copy(update={"train": derived.train.model_copy(update=train)})
        return [command[-1] for command in find_pending(changed, single, tiny_model_dir)]

    assert find() == ["train-lora", "merge-lora", "batch-infer"]
    seal(derived.run_dir / "adapter", fingerprint_training(derived, records, base))
    assert find() == ["merge-lora", "batch-infer"]
    seal(derived.run_dir / "merged", Recipe.of(derived, tiny_model_dir).inputs, tiny_model_dir)
    assert find() == ["batch-infer"]
    answering = model_digest(find_model(derived, "merged"))
    seal(derived.predictions_dir("merged"), fingerprint_inference(derived, records, answering))
    assert find() == []
    assert find(torch_threads=7) == []
    assert find(learning_rate=0.5) == ["train-lora", "merge-lora", "batch-infer"]
    merged = derive(config, runs["merged"]).model_copy(update={"model": derived.model})
    left = find_pending(merged, runs["merged"], tiny_model_dir)
    assert [command[-1] for command in left] == ["merge-lora", "batch-infer"]


def test_a_switched_model_that_is_there_is_asked(config, plan, tiny_model_dir, tmp_path):
    switched = shutil.copytree(tiny_model_dir, tmp_path / "switched")
    write_proofs(switched, {})
    run = next(run for run in plan(config) if run.strategy == "single")
    derived = derive(config, run).model_copy(update={"model": ModelSection(source=str(tiny_model_dir))})
    records = artifacts.read_manifest(config.records_dir, "prepare_data").digest
    seal(derived.run_dir / "adapter", fingerprint_training(derived, records, model_digest(tiny_model_dir)))
    seal(derived.run_dir / "merged", Recipe.of(derived, tiny_model_dir).inputs, switched)
    assert [command[-1] for command in find_pending(derived, run, tiny_model_dir)] == ["batch-infer"]
