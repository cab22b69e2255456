import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config, load_config, write_config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.members import find_tasks, list_members

TASKS = ("ner", "generation")


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes the config of an experiment whose records have all splits."""

    def make(**sections):
        config = Config(name="run", run_root=str(tmp_path), seed=5, **sections)
        for task in TASKS:
            for split in ("train", "validation", "dev"):
                (config.records_dir / f"task={task}" / f"split={split}").mkdir(parents=True, exist_ok=True)
        artifacts.write_manifest(config.records_dir, "records", "inputs", {})
        return config

    return make


def names(config):
    return [member.name for member in list_members(config, TASKS)]


def test_one_adapter_per_task_and_one_on_all(make_config):
    members = list_members(make_config(), TASKS)
    assert [(member.name, member.tasks, member.strategy) for member in members] == [
        ("ner", ("ner",), "single"),
        ("generation", ("generation",), "single"),
        ("mixed", TASKS, "mixed"),
    ]
    assert names(make_config(experiment={"strategies": ["mixed"]})) == ["mixed"]


def test_shards_and_seeds_are_adapters_of_their_own(make_config):
    strategies = {"strategies": ["single"]}
    assert names(make_config(experiment={"num_shards": 2, **strategies}))[:2] == ["ner.1of2", "ner.2of2"]
    assert names(make_config(experiment={"seeds": [7, 8], **strategies}))[:2] == ["ner.seed7", "ner.seed8"]
    both = list_members(make_config(experiment={"num_shards": 2, "seeds": [7, 8], **strategies}), TASKS)
    assert [member.name for member in both[:4]] == [
        "ner.1of2.seed7",
        "ner.1of2.seed8",
        "ner.2of2.seed7",
        "ner.2of2.seed8",
    ]
    assert {(member.config.train.shard, member.config.seed) for member in both[:4]} == {
        ((1, 2), 7),
        ((1, 2), 8),
        ((2, 2), 7),
        ((2, 2), 8),
    }


def test_a_member_is_a_run_on_the_records_of_the_experiment(make_config, tmp_path):
    config = make_config(
        model={"source": "base", "merged_dir": "elsewhere"},
        merge={"method": "ties"},
        data={"max_train_rows": 9},
        train={"task_weights": {"ner": 2.0}},
        infer={"batch_size": 3},
        ray={"address": "somewhere:1", "num_cpus": 9},
    )
    single, _, mixed = (member.config for member in list_members(config, TASKS))
    assert single.run_dir == tmp_path / "run" / "adapters" / "ner"
    assert single.records_dir == mixed.records_dir == tmp_path / "run" / "records"
    assert (single.model.source, single.model.merged_dir, single.merge.method) == ("base", None, "cat")
    assert (single.data.max_train_rows, single.train.shard, single.seed) == (9, None, 5)
    assert (single.infer.models, single.infer.batch_size) == (("merged",), 3)
    assert (single.ray.address, single.ray.num_cpus) == (None, 9)
    assert (single.train.task_weights, mixed.train.task_weights) == ({}, {"ner": 2.0})
    write_config(single)
    assert load_config(str(single.run_dir / "config.yaml")) == single


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"strategies": ["merged", "mixed"]}, "`merged` combines the adapters of `single`"),
        ({"strategies": []}, "is empty"),
        ({"seeds": [1, 1]}, r"\[1, 1\]: a seed stands there twice"),
    ],
)
def test_plans_that_make_no_sense(make_config, experiment, message):
    with pytest.raises(UserError, match=message):
        list_members(make_config(experiment=experiment), TASKS)


def test_whole_models_are_not_merged(make_config):
    with pytest.raises(UserError, match=r"`train\.method: full` makes whole models"):
        list_members(make_config(train={"method": "full"}), TASKS)


def test_a_lone_adapter_has_no_merge(make_config):
    with pytest.raises(UserError, match="one adapter, ner, has nothing to be merged with"):
        list_members(make_config(), ["ner"])


def test_tasks_are_those_of_the_records_unless_named(make_config):
    assert find_tasks(make_config()) == ("generation", "ner")
    assert find_tasks(make_config(data={"tasks": TASKS})) == TASKS


def test_a_split_that_will_be_missed_is_named_before_hours_of_training(make_config):
    config = make_config()
    (config.records_dir / "task=ner" / "split=validation").rmdir()
    with pytest.raises(UserError, match=r"`validation` has no row of ner; set `data\.validation_share`"):
        find_tasks(config)
    assert find_tasks(make_config(experiment={"strategies": ["single"]}))
    with pytest.raises(UserError, match="split `test` has no row of generation, ner"):
        find_tasks(make_config(evaluate={"split": "test"}))


def test_records_come_first(tmp_path):
    with pytest.raises(UserError, match=r"run `eshop prepare-data`"):
        find_tasks(Config(name="run", run_root=str(tmp_path)))
