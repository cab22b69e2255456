"""An experiment from files to report, by its jobs; the engine that knows the answers."""

import json

import pytest
import yaml

from eshop_ray import artifacts
from eshop_ray.cli import main, run_job
from eshop_ray.config import load_config, write_config
from eshop_ray.evaluation.experiments import launch
from eshop_ray.evaluation.experiments.chains import ESHOP
from eshop_ray.jobs import compare_strategies, prepare_data, search_merge, train_strategies

COLOURS = ("red", "blue", "green", "grey", "black", "white")
THINGS = ("scarf", "tent", "bottle", "lamp", "mug", "rug", "chair")
TASKS = {"ner_tagging", "classification"}


@pytest.fixture
def config_path(tmp_path, tiny_model_dir):
    folder = tmp_path
    pairs = [(colour, thing) for colour in COLOURS for thing in THINGS]
    queries = [f"{colour}\tB-color\n{thing}\tB-core_product_type\n" for colour, thing in pairs]
    (folder / "queries.conll").write_text("\n".join(queries))
    rows = [
        {"query": colour, "product_title": thing, "esci_label": "ESCI"[number % 4]}
        for number, (colour, thing) in enumerate(pairs)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "name": "run",
        "run_root": str(folder / "runs"),
        "model": {"source": str(tiny_model_dir)},
        "data": {
            "root": str(folder),
            "sources": [{"format": "queryner", "path": "queries.conll"}, {"format": "esci", "path": "pairs.jsonl"}],
            "eval_share": 0.2,
            "validation_share": 0.2,
            "max_train_rows": 12,
        },
        "lora": {"r": 4, "lora_alpha": 8},
        "train": {"precision": "fp32"},
        "experiment": {"strategies": ["single", "merged"]},
        "search": {
            "methods": ["cat", "ties"],
            "scales": [0.5, 1.0],
            "tilts": [],
            "densities": [0.5],
            "max_rows": 4,
            "num_workers": 1,
            "num_confirmed": 1,
        },
        "infer": {"engine": "oracle", "max_rows": 6},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(job, path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_job(job.__name__.rpartition(".")[2], [str(path)])
    output = capsys.readouterr()
    assert stopped.value.code == 0, output.err[-3000:]
    return output.out


def run_here(chains, num_parallel, environment):  # noqa: ARG001
    """Run the commands of all chains in this process, one after the other."""
    for chain in chains:
        write_config(chain.config)
        for command in chain.commands:
            with pytest.raises(SystemExit) as stopped:
                main([*command[len(ESHOP) :], str(chain.config.run_dir / "config.yaml")])
            assert stopped.value.code == 0
    return []


@pytest.fixture(params=[pytest.param(place, marks=pytest.mark.slow) for place in ("here", "children")])
def place_of_runs(request, monkeypatch):
    """Runs are child processes, which take most of the time; test_launch.py has some whatever this one does."""
    if request.param == "here":
        monkeypatch.setattr(launch, "run_processes", run_here)


@pytest.mark.timeout(900)  # some thirty processes
@pytest.mark.usefixtures("ray_session", "place_of_runs")
def test_experiment_from_files_to_report(config_path, capsys):
    config = load_config(str(config_path))
    run_dir = config.run_dir
    run(prepare_data, config_path, capsys)
    run(train_strategies, config_path, capsys)
    adapters = {task: run_dir / "adapters" / task / "adapter" for task in TASKS}
    digests = {task: artifacts.read_manifest(folder, "train_strategies").digest for task, folder in adapters.items()}
    assert len(set(digests.values())) == 2
    assert {json.loads((folder / "training.json").read_text())["num_rows"] for folder in adapters.values()} == {12}

    assert "own adapters" in run(search_merge, config_path, capsys)
    check_search(run_dir, digests)
    chosen = json.loads((run_dir / "search.json").read_text())["chosen"]
    assert "merged" in run(compare_strategies, config_path, capsys)
    experiment = json.loads((run_dir / "experiment.json").read_text())
    assert set(experiment["tasks"]) == TASKS
    for task in experiment["tasks"].values():
        assert {name: values["score"] for name, values in task["strategies"].items()} == {
            "base": 1.0,
            "single": 1.0,
            "merged": 1.0,
        }
        assert not task["is_clear"]
    assert experiment["budget"]["single"]["num_rows"] == 24
    assert chosen in (run_dir / "experiment.html").read_text()


def check_search(run_dir, digests):
    search = json.loads((run_dir / "search.json").read_text())
    assert {adapter["name"]: adapter["digest"] for adapter in search["adapters"]} == digests
    assert set(search["references"]) == {"base", *TASKS}
    assert search["num_candidates"] == len(search["candidates"]) == 4
    assert search["single_scores"] == dict.fromkeys(TASKS, 1.0)
    assert search["promoted"]
    for candidate in search["candidates"]:
        assert set(candidate["losses"]) == TASKS
        assert (candidate["scores"] is not None) == (candidate["id"] in search["confirmed"])
    similarity = json.loads((run_dir / "similarity.json").read_text())
    assert set(similarity["adapters"]) == TASKS
    recipe = yaml.safe_load((run_dir / "recipe.yaml").read_text())
    assert set(recipe["merge"]["digests"]) == set(digests.values())
