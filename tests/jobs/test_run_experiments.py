"""A matrix from files to report, by its jobs; the engine that knows the answers."""

import json

import pytest
import yaml

from eshop_ray.cli import main, run_job
from eshop_ray.config import load_config, write_config
from eshop_ray.evaluation.experiments import launch
from eshop_ray.evaluation.experiments.chains import ESHOP

COLOURS = ("red", "blue", "green", "grey", "black", "white")
THINGS = ("scarf", "tent", "bottle", "lamp", "mug", "rug", "chair")
TASKS = {"ner_tagging", "classification"}


@pytest.fixture
def config_path(tmp_path, tiny_model_dir):
    pairs = [(colour, thing) for colour in COLOURS for thing in THINGS]
    queries = [f"{colour}\tB-color\n{thing}\tB-core_product_type\n" for colour, thing in pairs]
    (tmp_path / "queries.conll").write_text("\n".join(queries))
    rows = [
        {"query": colour, "product_title": thing, "esci_label": "ESCI"[number % 4]}
        for number, (colour, thing) in enumerate(pairs)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "name": "run",
        "run_root": str(tmp_path / "runs"),
        "model": {"source": str(tiny_model_dir)},
        "data": {
            "root": str(tmp_path),
            "sources": [{"format": "queryner", "path": "queries.conll"}, {"format": "esci", "path": "pairs.jsonl"}],
            "eval_share": 0.4,
            "split_by": {"esci_pairs": "query"},
        },
        "evaluate": {"clusters": {"esci_pairs": "query"}},
        "lora": {"r": 4, "lora_alpha": 8},
        "train": {"precision": "fp32"},
        "infer": {"engine": "oracle"},
        "matrix": {"models": ["llm"], "strategies": ["zero-shot"], "sizes": [6, 12]},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(job, path, *overrides):
    with pytest.raises(SystemExit) as stopped:
        run_job(job, [str(path), *overrides])
    return stopped.value.code


@pytest.fixture
def started(monkeypatch):
    """Run the commands of all chains in this process, one after the other; names of runs and jobs that were started."""
    begun = []

    def run_here(chains, num_parallel, environment):  # noqa: ARG001
        for chain in chains:
            write_config(chain.config)
            for command in chain.commands:
                begun.append((chain.config.name, command[-1]))
                with pytest.raises(SystemExit) as stopped:
                    main([*command[len(ESHOP) :], str(chain.config.run_dir / "config.yaml")])
                assert stopped.value.code == 0
        return []

    monkeypatch.setattr(launch, "run_processes", run_here)
    return begun


def read_matrix(path):
    return json.loads((load_config(str(path)).run_dir / "matrix.json").read_text())


@pytest.mark.slow  # a matrix of real jobs
@pytest.mark.usefixtures("ray_session")
def test_the_base_answers_once_and_what_cannot_be_had_is_missing(config_path, started, capsys):
    assert run("prepare_data", config_path) == 0
    assert run("run_experiments", config_path) == 0
    assert started == [("llm.zero-shot", "batch-infer")]
    cells = read_matrix(config_path)["cells"]
    assert {(cell["task"], cell["score"], cell["strategy"], cell["size"]) for cell in cells} == {
        (task, 1.0, "zero-shot", 0) for task in TASKS
    }
    lost = ["matrix.models=[seq2seq]", "matrix.strategies=[single]", "matrix.sizes=[6]", "data.groups=[ner_tagging]"]
    assert run("run_experiments", config_path, *lost, "matrix.sources={seq2seq: /nowhere}") == 2
    assert started == [("llm.zero-shot", "batch-infer")]
    assert "1 of 1 runs failed, and their cells are missing from the report" in capsys.readouterr().err
    outcome = read_matrix(config_path)
    assert outcome["cells"] == []
    assert [(one["task"], one["model"]) for one in outcome["missing"]] == [("ner_tagging", "seq2seq")]
    assert "no verdict" in outcome["verdicts"]["ner_tagging"]


@pytest.mark.slow  # trains five adapters and two encoders; the tests of `eshop_ray.evaluation.matrix` train nothing
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("ray_session")
def test_a_matrix_from_files_to_report(config_path, started, capsys):
    wanted = ["matrix.models=[llm, encoder]", "matrix.strategies=[zero-shot, single, mixed, merged, wise-ft]"]
    wanted += ["matrix.sizes=[12]", "conventional.num_epochs=1"]
    assert run("prepare_data", config_path) == 0
    assert run("run_experiments", config_path, *wanted) == 0, capsys.readouterr().err[-3000:]
    outcome = read_matrix(config_path)
    assert {(cell["model"], cell["strategy"]) for cell in outcome["cells"]} == {
        *(("llm", strategy) for strategy in ("zero-shot", "single", "mixed", "merged", "wise-ft")),
        ("encoder", "single"),
    }
    assert {cell["task"] for cell in outcome["cells"]} == TASKS
    assert {cell["score"] for cell in outcome["cells"]} == {1.0}
    assert all(cell["train_seconds"] > 0 for cell in outcome["cells"] if cell["size"])
    assert outcome["one_model_share"] == {"mixed": 1.0, "merged": 1.0}
    trained = json.loads(
        (load_config(str(config_path)).run_dir / "cells/llm.mixed.12.seed0/adapter/training.json").read_text()
    )
    assert trained["num_rows"] == 24
    started.clear()
    assert run("run_experiments", config_path, *wanted) == 0
    assert started == []
    assert run("run_experiments", config_path, *wanted, "train.learning_rate=0.1") == 0
    assert {name for name, _ in started} == {
        *(f"llm.{strategy}.{task}.12.seed0" for strategy in ("single", "wise-ft") for task in TASKS),
        *(f"llm.{strategy}.12.seed0" for strategy in ("mixed", "merged")),
    }


@pytest.mark.slow  # trains two adapters; what runs a soup is made of is told by test_matrix_plan.py
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("ray_session")
def test_a_soup_of_shards_is_one_cell(config_path, started, capsys):
    wanted = ["matrix.strategies=[soup]", "matrix.soup_shards=2", "matrix.sizes=[12]", "data.groups=[ner_tagging]"]
    assert run("prepare_data", config_path) == 0
    assert run("run_experiments", config_path, *wanted) == 0, capsys.readouterr().err[-3000:]
    (cell,) = read_matrix(config_path)["cells"]
    assert (cell["task"], cell["strategy"], cell["size"]) == ("ner_tagging", "soup", 12)
    cells = load_config(str(config_path)).run_dir / "cells"
    trained = [
        json.loads((cells / f"llm.soup.ner_tagging.12.seed0.{place}of2/adapter/training.json").read_text())
        for place in (1, 2)
    ]
    assert [history["num_rows"] for history in trained] == [6, 6]
    assert cell["train_seconds"] == pytest.approx(sum(history["seconds"] for history in trained), rel=1e-3)
    merged = json.loads((cells / "llm.soup.ner_tagging.12.seed0/merged/manifest.json").read_text())
    assert (merged["details"]["method"], merged["details"]["wise_ft"]) == ("cat", 0.5)
    started.clear()
    assert run("run_experiments", config_path, *wanted) == 0
    assert started == []
