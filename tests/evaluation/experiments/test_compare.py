import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray import artifacts
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments import compare
from eshop_ray.evaluation.experiments.candidates import Candidate
from eshop_ray.evaluation.experiments.compare import compare_answers, judge, read_units
from eshop_ray.evaluation.experiments.confirm import SEARCH
from eshop_ray.evaluation.experiments.members import list_members
from eshop_ray.schema import PREDICTION_SCHEMA, encode

TASKS = ("classification", "multiple_choice")
NUM_ROWS = 40
MERGE = Candidate("cat", (1.0, 1.0))


def build_rows(task, num_right, group=None):
    return [
        {"id": f"{number:02d}", "task": task, "group": group or task, "metric": "accuracy", "error": None}
        | {"target": encode("right"), "prediction": encode("right" if number < num_right else "wrong")}
        for number in range(NUM_ROWS)
    ]


def write_predictions(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")


@pytest.fixture
def asked(monkeypatch):
    """Replace all runs by answers that are right more often the later the run stands in `SHARES`."""
    chains = []

    def run_chains(config, given, needs):  # noqa: ARG001
        for chain in given:
            chains.append(chain)
            num_right = {"base": 4, "mixed": 20, MERGE.id: 30}.get(chain.config.name, 32)
            rows = [row for task in chain.config.data.tasks for row in build_rows(task, num_right)]
            write_predictions(chain.config.predictions_dir(chain.config.infer.models[0]), rows)

    monkeypatch.setattr(compare, "run_chains", run_chains)
    return chains


def train(member, num_rows=10):
    folder = member.config.run_dir / "adapter"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"num_rows": num_rows, "num_epochs": 2, "seconds": 7.5}))
    artifacts.write_manifest(folder, "adapter", "inputs", {})


def write_search(config, members, **more):
    adapters = [{"name": m.name, "tasks": list(m.tasks), "dir": "x", "digest": "d"} for m in members]
    candidate = {"id": MERGE.id, "method": "cat", "weights": [1.0, 1.0], "density": 1.0, "wise_ft": 1.0}
    search = {"adapters": adapters, "candidates": [candidate], "chosen": MERGE.id, "promoted": True}
    search |= {"single_members": {}, "seconds": 3.0, "confirm_seconds": 4.0}
    artifacts.write_json(config.run_dir / SEARCH, {**search, **more})


def test_all_strategies_answer_the_same_split(make_config, asked):
    config = make_config(data={"tasks": TASKS})
    members = list_members(config, TASKS)
    for member in members:
        train(member)
    write_search(config, members[:2])
    experiment = compare.compare(config, members)
    assert [chain.config.name for chain in asked] == ["base", *TASKS, "mixed", MERGE.id]
    assert {(chain.config.evaluate.split, chain.config.infer.max_rows) for chain in asked} == {("dev", None)}
    assert [len(chain.commands) for chain in asked] == [1, 2, 2, 2, 2]
    for task in TASKS:
        found = experiment["tasks"][task]
        assert (found["metric"], found["num_rows"], found["best"], found["is_clear"]) == (
            "accuracy",
            40,
            "single",
            False,
        )
        scores = {name: values["score"] for name, values in found["strategies"].items()}
        assert scores == {"base": 0.1, "single": 0.8, "mixed": 0.5, "merged": 0.75}
        for values in found["strategies"].values():
            assert values["low"] < values["score"] < values["high"]
            assert values["num_errors"] == 0
    assert experiment["mean"] == pytest.approx({"base": 0.1, "single": 0.8, "mixed": 0.5, "merged": 0.75})
    assert experiment["budget"] == {
        "base": {"num_adapters": 0, "num_rows": 0, "seconds": 0, "search_seconds": 0},
        "single": {"num_adapters": 2, "num_rows": 40, "seconds": 15.0, "search_seconds": 0},
        "mixed": {"num_adapters": 1, "num_rows": 20, "seconds": 7.5, "search_seconds": 0},
        "merged": {"num_adapters": 2, "num_rows": 40, "seconds": 15.0, "search_seconds": 7.0},
    }
    assert experiment["promoted"]
    assert "best mean score has single, 0.800 (base 0.100, mixed 0.500, merged 0.750)" in experiment["verdict"]
    json.dumps(experiment)


def test_what_was_not_trained_is_left_out(make_config, asked):
    config = make_config(data={"tasks": TASKS})
    members = list_members(config, TASKS)
    with pytest.raises(UserError, match=r"has no adapters; run `eshop train-strategies` first"):
        compare.compare(config, members)
    train(members[0])
    experiment = compare.compare(config, members)
    assert [chain.config.name for chain in asked] == ["base", "classification"]
    assert experiment["mean"] == {"base": pytest.approx(0.1), "single": None}
    assert set(experiment["tasks"]["multiple_choice"]["strategies"]) == {"base"}
    assert not experiment["promoted"]


def test_the_adapter_that_validation_chose_answers_for_its_task(make_config, asked):
    config = make_config(data={"tasks": TASKS}, experiment={"seeds": [1, 2]})
    members = list_members(config, TASKS)
    for member in members:
        train(member)
    chosen = {"classification": "classification.seed2", "multiple_choice": "multiple_choice.seed1"}
    write_search(config, members[:-1], single_members=chosen, promoted=False)
    experiment = compare.compare(config, members)
    assert [chain.config.name for chain in asked][1:3] == list(chosen.values())
    assert experiment["budget"]["single"]["num_adapters"] == 4
    assert "the merge was not promoted" in experiment["verdict"]


def compare_all(**answers):
    tasks = {"classification": compare_answers(answers, seed=0)}
    judge(tasks)
    return tasks["classification"]


def test_clear_is_what_chance_does_not_explain():
    good, bad = build_rows("classification", 30), build_rows("classification", 10)
    found = compare_all(single=good, mixed=bad)
    assert found["is_clear"]
    behind = found["strategies"]["mixed"]["behind"]
    assert (behind["num_better"], behind["num_worse"], behind["test"]) == (20, 0, "mcnemar")
    near = build_rows("classification", 29)
    found = compare_all(single=good, mixed=bad, merged=near)
    assert not found["is_clear"]
    assert found["strategies"]["merged"]["behind"]["p_adjusted"] == 1
    assert "behind" not in found["strategies"]["single"]


def test_many_tests_ask_for_more():
    """Six rows of forty, all one way: p = 0.03 by itself, which is no news among five tests."""
    tasks = {"first": {"single": 30, "mixed": 24}, **{f"other {n}": {"single": 30, "mixed": 30} for n in range(4)}}
    compared = {
        name: compare_answers({who: build_rows("classification", right) for who, right in sides.items()}, seed=0)
        for name, sides in tasks.items()
    }
    alone = {"first": dict(compared["first"])}
    judge(alone)
    assert alone["first"]["is_clear"]
    judge(compared)
    assert not compared["first"]["is_clear"]


def test_rows_that_only_one_has_are_no_comparison():
    rows = build_rows("classification", 30)
    with pytest.raises(UserError, match=r"`single` and `mixed` did not answer .* classification: 10 .*such as 00, 01"):
        compare_answers({"single": rows[5:], "mixed": rows[:-5]}, seed=0)


def test_groups_of_one_task_are_scored_apart(make_config):
    config = make_config()
    contender = compare.Contender("base", config)
    rows = [row for group in ("rating", "category") for row in build_rows("classification", 3, group)]
    write_predictions(contender.predictions_dir, [*rows, *build_rows("ranking", 3)])
    assert set(read_units([contender])) == {"classification/rating", "classification/category", "ranking"}
