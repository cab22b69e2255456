import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray import artifacts
from eshop_ray.cli import run_job
from eshop_ray.config import load_config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments import confirm
from eshop_ray.evaluation.experiments.candidates import Candidate
from eshop_ray.evaluation.experiments.chains import ANSWER, MERGE_AND_ANSWER
from eshop_ray.evaluation.experiments.confirm import (
    build_chain,
    derive_merge,
    open_adapters,
    print_candidates,
    read_search,
    write_outcome,
)
from eshop_ray.evaluation.experiments.members import list_members
from eshop_ray.jobs import merge_lora, search_merge
from eshop_ray.schema import PREDICTION_SCHEMA, encode

TASKS = ("classification", "ner_tagging")
NUM_ROWS = 10
CANDIDATES = [Candidate("cat", (weight, 1.0)) for weight in (0.4, 0.6, 0.8)] + [Candidate("ties", (0.5, 0.5), 0.3)]
FAIR, GREEDY, WEAK, UNTRIED = (candidate.id for candidate in CANDIDATES)


def build_search(adapters):
    """What `search_losses` returns: the first three candidates are the best by loss."""
    candidates = [
        {
            "id": candidate.id,
            "method": candidate.method,
            "weights": list(candidate.weights),
            "density": candidate.density,
            "wise_ft": candidate.wise_ft,
            "mean": 1.0 + number,
            "worst": 1.5 + number,
            "num_rows": 64,
            "scores": None,
        }
        for number, candidate in enumerate(CANDIDATES)
    ]
    listed = [
        {"name": name, "tasks": [name.partition(".")[0]], "dir": str(folder), "digest": digest}
        for name, (folder, digest) in adapters.items()
    ]
    return {"inputs": "as they were", "adapters": listed, "candidates": candidates, "seconds": 5.0}


@pytest.fixture
def answer_with(monkeypatch):
    """Return a function that replaces all runs by answers of which so many are right, by run and task."""

    def install(num_right):
        asked = []

        def run_chains(config, chains, needs):  # noqa: ARG001
            for chain in chains:
                asked.append(chain)
                write_predictions(chain.config, num_right[chain.config.name])

        monkeypatch.setattr(confirm, "run_chains", run_chains)
        return asked

    return install


def write_predictions(config, num_right):
    rows = [
        {"id": str(number), "task": task, "group": task, "metric": "accuracy"}
        | {"target": encode("right"), "prediction": encode("right" if number < num_right[task] else "wrong")}
        for task in config.data.tasks
        for number in range(NUM_ROWS)
    ]
    folder = config.predictions_dir("merged")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")


def both(first, second):
    return dict(zip(TASKS, (first, second), strict=True))


OWN = {"classification": {"classification": 10}, "ner_tagging": {"ner_tagging": 5}}


def run_confirm(make_config, answer_with, num_right, **sections):
    config = make_config(data={"tasks": TASKS}, infer={"engine": "oracle"}, **sections)
    members = list_members(config, TASKS)
    adapters = {member.name: (member.config.run_dir / "adapter", "d") for member in members[:-1]}
    asked = answer_with(num_right)
    return config, asked, confirm.confirm(config, members, build_search(adapters))


def test_best_few_and_own_adapters_answer_validation(make_config, answer_with):
    num_right = {**OWN, FAIR: both(9, 5), GREEDY: both(10, 2), WEAK: both(9, 4)}
    config, asked, search = run_confirm(make_config, answer_with, num_right, search={"max_confirm_rows": 7})
    assert [chain.config.name for chain in asked] == ["classification", "ner_tagging", FAIR, GREEDY, WEAK]
    for chain in asked:
        assert chain.commands == MERGE_AND_ANSWER
        assert (chain.config.evaluate.split, chain.config.infer.max_rows) == ("validation", 7)
        assert chain.config.records_dir == config.records_dir
    assert [chain.config.data.tasks for chain in asked] == [TASKS[:1], TASKS[1:], TASKS, TASKS, TASKS]
    assert [chain.config.merge.weights for chain in asked[:3]] == [(), (), (0.4, 1.0)]
    assert search["confirmed"] == [FAIR, GREEDY, WEAK]
    assert search["single_scores"] == {"classification": 1.0, "ner_tagging": 0.5}
    scores = {candidate["id"]: candidate["scores"] for candidate in search["candidates"]}
    assert scores == {
        FAIR: both(0.9, 0.5),
        GREEDY: both(1.0, 0.2),
        WEAK: both(0.9, 0.4),
        UNTRIED: None,
    }
    assert (search["chosen"], search["promoted"], search["seconds"]) == (FAIR, True, 5.0)
    json.dumps(search)


def test_a_task_is_compared_with_the_best_of_its_adapters(make_config, answer_with):
    own = {f"{task}.seed{seed}": {task: seed} for task in TASKS for seed in (3, 4)}
    num_right = {**own, FAIR: both(4, 4), GREEDY: both(3, 4), WEAK: both(1, 1)}
    _, _, search = run_confirm(make_config, answer_with, num_right, experiment={"seeds": [3, 4]})
    assert search["single_scores"] == both(0.4, 0.4)
    assert search["single_members"] == {task: f"{task}.seed4" for task in TASKS}


def test_a_task_that_its_own_adapter_cannot_do(make_config, answer_with):
    num_right = {
        **OWN,
        "ner_tagging": {"ner_tagging": 0},
        FAIR: both(9, 0),
        GREEDY: both(9, 1),
        WEAK: both(9, 0),
    }
    _, _, search = run_confirm(make_config, answer_with, num_right)
    assert (search["chosen"], search["promoted"]) == (GREEDY, True)


def test_time_of_the_first_confirmation_is_kept(make_config, answer_with):
    num_right = {**OWN, FAIR: both(9, 5), GREEDY: both(9, 5), WEAK: both(9, 5)}
    config, _, search = run_confirm(make_config, answer_with, num_right)
    write_outcome(config, {**search, "confirm_seconds": 99.0})
    assert run_confirm(make_config, answer_with, num_right)[2]["confirm_seconds"] == 99.0
    write_outcome(config, {**search, "confirm_seconds": 99.0, "inputs": "other adapters"})
    assert run_confirm(make_config, answer_with, num_right)[2]["confirm_seconds"] < 9


def test_adapters_without_any_finite_loss(make_config):
    config = make_config()
    search = build_search({})
    search["candidates"] = [{**candidate, "mean": None, "worst": None} for candidate in search["candidates"]]
    with pytest.raises(UserError, match="no candidate has finite losses"):
        confirm.confirm(config, list_members(config, TASKS), search)


def test_missing_adapters_name_the_job(make_config):
    with pytest.raises(UserError, match=r"classification/adapter is missing .*run `eshop train-strategies`"):
        open_adapters(list_members(make_config(), TASKS))


@pytest.fixture
def experiment(make_config, make_adapter):
    """A config with adapters of both tasks, and a search over them that promotes a merge."""
    config = make_config(data={"tasks": TASKS}, seed=3, search={"num_confirmed": 2})
    members = list_members(config, TASKS)[:-1]
    adapters = {}
    for seed, member in enumerate(members):
        folder = make_adapter(member.config.run_dir / "adapter", seed)
        adapters[member.name] = (folder, artifacts.read_manifest(folder, "train_lora").digest)
    return config, build_search(adapters)


OUTCOME = {"chosen": FAIR, "promoted": True, "verdict": "All is well.", "confirmed": []}


def test_recipe_is_a_config_that_merge_lora_runs(experiment, capsys):
    config, search = experiment
    path = write_outcome(config, {**search, **OUTCOME})
    assert path == config.run_dir / "recipe.yaml"
    assert path.read_text().startswith("# All is well.\n")
    recipe = load_config(str(path))
    assert (recipe.run_dir, recipe.seed, recipe.merge.weights) == (config.run_dir, 3, (0.4, 1.0))
    assert recipe.search == config.search
    with pytest.raises(SystemExit) as stopped:
        run_job("merge_lora", [str(path)])
    assert stopped.value.code == 0, capsys.readouterr().err
    run = derive_merge(config, search, FAIR)
    assert build_chain(run, Path(config.model.source)).commands == MERGE_AND_ANSWER
    merge_lora.run(run)
    assert build_chain(run, Path(config.model.source)).commands == ANSWER
    digests = [artifacts.read_manifest(folder, "merge_lora").digest for folder in config.run_dir.rglob("merged")]
    assert len(digests) == 2
    assert len(set(digests)) == 1


def test_recipe_refuses_other_adapters(experiment, make_adapter, capsys):
    config, search = experiment
    path = write_outcome(config, {**search, **OUTCOME})
    make_adapter(config.run_dir / "adapters" / "classification" / "adapter", seed=9)
    with pytest.raises(SystemExit) as stopped:
        run_job("merge_lora", [str(path)])
    assert stopped.value.code == 2
    assert "the recipe was found for another adapter than" in capsys.readouterr().err
    assert not (config.run_dir / "merged").exists()


def test_rejected_merge_leaves_no_recipe(make_config, answer_with, monkeypatch, capsys):
    good = {**OWN, FAIR: both(9, 5), GREEDY: both(9, 5), WEAK: both(9, 5)}
    config, _, search = run_confirm(make_config, answer_with, good)
    write_outcome(config, search)
    bad = {**OWN, FAIR: both(8, 5), GREEDY: both(10, 1), WEAK: both(7, 4)}
    answer_with(bad)
    monkeypatch.setattr(search_merge, "find_candidates", lambda *_: search)
    with pytest.raises(SystemExit) as stopped:
        run_job("search_merge", [str(config.run_dir / "recipe.yaml")])
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert "error: No merge is promoted" in output.err
    assert "classification 20.0% (1.000 -> 0.800)" in output.err
    assert FAIR in output.out
    assert not (config.run_dir / "recipe.yaml").exists()
    rejected = yaml.safe_load((config.run_dir / "rejected.yaml").read_text())
    assert rejected["merge"]["weights"] == [0.4, 1.0]
    written = read_search(config)
    assert (written["chosen"], written["promoted"]) == (FAIR, False)
    answer_with(good)
    search_merge.run(config)
    assert not (config.run_dir / "rejected.yaml").exists()


def test_table_of_confirmed_merges(make_config, answer_with, monkeypatch):
    num_right = {**OWN, FAIR: both(9, 5), GREEDY: both(10, 2), WEAK: both(9, 4)}
    printed = []
    monkeypatch.setattr(confirm, "print_table", lambda table, *_, **__: printed.append(table))
    print_candidates(run_confirm(make_config, answer_with, num_right)[2])
    cells = {row[0]: list(row[1:]) for row in printed[0].rows}
    assert cells["own adapters"] == ["", "", "1.000", "0.500", "0.750"]
    assert cells[FAIR] == ["1.000", "1.500", "0.900", "0.500", "0.700"]
    assert UNTRIED not in cells
