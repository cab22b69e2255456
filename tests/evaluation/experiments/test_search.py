import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

import pytest

from eshop_ray import artifacts
from eshop_ray.config import write_config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments import search as search_module
from eshop_ray.evaluation.experiments.pareto import find_front, pick_few
from eshop_ray.evaluation.experiments.search import LOSSES, search_losses
from eshop_ray.evaluation.experiments.worker import LossWorker
from eshop_ray.training.merging.adapters import AdapterFile
from tests.enrichment.drivers import ROOT, kill_one
from tests.waiting import wait_until

TASKS_OF = {"one": ["ner_tagging"], "two": ["classification"]}
GRID = {
    "methods": ("cat", "ties"),
    "scales": (0.5, 1.0),
    "tilts": (2.0,),
    "densities": (0.5,),
    "first_rows": 32,
    "num_workers": 2,
}
LARGE = {**GRID, "methods": ("cat", "ties", "dare_ties"), "densities": (0.3, 0.7), "num_workers": 1}


@pytest.fixture
def measured_here(monkeypatch):
    """Trials are run in this process. The pool of actors is tested in test_pool.py, and by searches that are killed."""

    def run_here(build_worker, trials, num_workers):  # noqa: ARG001
        worker = build_worker()
        return map(worker.run, trials)

    monkeypatch.setattr(search_module, "run_trials", run_here)
    monkeypatch.setattr(search_module, "start_worker", LossWorker)


@pytest.fixture(scope="module")
def adapters(make_adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    names = ("one", "two", "mixed")
    return [AdapterFile.open(make_adapter(folder / name / "adapter", seed)) for seed, name in enumerate(names)]


@pytest.fixture
def search(adapters, tiny_model_dir):
    def run(config, mixed=None):
        return search_losses(config, tiny_model_dir, adapters[:2], TASKS_OF, mixed)

    return run


def read_log(config):
    return [path.read_text().splitlines() for path in config.run_dir.glob(f"search/*/{LOSSES}")]


def timeless(found):
    candidates = [{**candidate, "seconds": 0} for candidate in found["candidates"]]
    return json.loads(json.dumps({**found, "candidates": candidates, "seconds": 0}, allow_nan=False))


@pytest.mark.usefixtures("ray_session", "measured_here")
def test_search_compares_every_candidate_with_each_tasks_own_adapter(make_config, search, adapters):
    found = search(make_config(search=GRID), mixed=adapters[2])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["rows"] == {"classification": 6, "ner_tagging": 6}
    assert list(found["references"]) == ["base", "one", "two", "mixed"]
    assert [entry["name"] for entry in found["adapters"]] == ["one", "two"]
    assert [entry["digest"] for entry in found["adapters"]] == [adapter.digest for adapter in adapters[:2]]
    assert len({candidate["id"] for candidate in found["candidates"]}) == found["num_candidates"] == 12
    single = {"ner_tagging": found["references"]["one"], "classification": found["references"]["two"]}
    for candidate in found["candidates"]:
        ratios = {task: candidate["losses"][task] / losses[task] for task, losses in single.items()}
        assert candidate["ratios"] == pytest.approx(ratios)
        assert candidate["mean"] == pytest.approx(fmean(ratios.values()))
        assert candidate["worst"] == max(candidate["ratios"].values())
        assert candidate["scores"] is None
    means = [candidate["mean"] for candidate in found["candidates"]]
    assert means == sorted(means)
    front = {candidate["id"] for candidate in found["candidates"] if candidate["is_pareto"]}
    assert front == find_front(found["candidates"]) != set()


@pytest.mark.slow  # a search in several stages
@pytest.mark.usefixtures("ray_session", "measured_here")
def test_best_of_few_rows_are_measured_by_more(make_config, search):
    grid = {**GRID, "scales": (0.5, 1.0, 1.5), "num_confirmed": 1, "kept_share": 0.25}
    found = search(make_config(search={**grid, "first_rows": 2, "max_rows": 6}))
    by_few = search(make_config(search={**grid, "first_rows": 2, "max_rows": 2}))
    finalists = [candidate for candidate in found["candidates"] if candidate["num_rows"] == 12]
    assert found["candidates"][:5] == finalists
    assert {candidate["num_rows"] for candidate in found["candidates"][5:]} == {4}
    assert {each["id"] for each in finalists} == set(pick_few(by_few["candidates"], 5))
    losses = {each["id"]: each["losses"] for each in by_few["candidates"]}
    assert all(each["losses"] == losses[each["id"]] for each in found["candidates"][5:])
    assert found["rows"] == {"classification": 6, "ner_tagging": 6}
    everything = search(make_config(search=grid))
    exact = {each["id"]: each["ratios"] for each in everything["candidates"]}
    assert all(each["ratios"] == pytest.approx(exact[each["id"]], rel=0.02) for each in finalists)


@pytest.mark.usefixtures("ray_session", "measured_here")
def test_larger_grid_measures_only_what_is_new(make_config, search):
    small = search(make_config(search=GRID))
    config = make_config(search={**GRID, "scales": (0.5, 1.0, 1.5)})
    (before,) = read_log(config)
    large = search(config)
    (after,) = read_log(config)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 6 == 1 + 2 + 18
    known = {candidate["id"]: candidate["losses"] for candidate in large["candidates"]}
    assert {candidate["id"]: known[candidate["id"]] for candidate in small["candidates"]} == {
        candidate["id"]: candidate["losses"] for candidate in small["candidates"]
    }
    assert timeless(search(config)) == timeless(large)
    assert read_log(config) == [after]


@pytest.mark.usefixtures("ray_session", "measured_here")
def test_search_goes_on_behind_the_line_that_was_cut_off(make_config, search):
    config = make_config(search=GRID)
    found = timeless(search(config))
    (path,) = config.run_dir.glob(f"search/*/{LOSSES}")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:-9])
    assert timeless(search(config)) == found
    assert path.read_text().splitlines(keepends=True)[:5] == lines[:5]
    assert len(path.read_text().splitlines()) == len(lines)


@pytest.mark.usefixtures("ray_session", "measured_here")
def test_what_decides_about_the_losses_begins_a_log_of_its_own(make_config, search):
    grid = {**GRID, "methods": ("cat",), "scales": (1.0,), "tilts": ()}
    rows = [search(make_config(search={**grid, "max_rows": num}))["rows"] for num in (2, 3)]
    assert rows == [dict.fromkeys(("classification", "ner_tagging"), num) for num in (2, 3)]
    search(make_config(search={**grid, "max_rows": 3}, seed=1))
    assert len(read_log(make_config())) == 3


@pytest.mark.usefixtures("ray_session", "measured_here")
def test_loss_that_is_no_number_ranks_last_and_is_kept(make_config, search):
    config = make_config(search={**GRID, "methods": ("cat",), "scales": (1e25, 1.0), "tilts": ()})
    first, last = search(config)["candidates"]
    assert first["weights"] == [1.0, 1.0]
    assert first["is_pareto"]
    assert last["losses"] == last["ratios"] == {"classification": None, "ner_tagging": None}
    assert (last["mean"], last["worst"], last["is_pareto"]) == (None, None, False)


@pytest.fixture(scope="module")
def searched():
    """What `expected` found, if it was asked before."""
    return []


@pytest.fixture
def expected(make_config, search, measured_here, searched):  # noqa: ARG001
    """What the large grid's search finds where nothing happens to it."""
    if not searched:
        searched.append(timeless(search(make_config(search=LARGE))))
        shutil.rmtree(make_config().run_dir / "search")
    return searched[0]


def has_measured(config, num_lines):
    return len((read_log(config) or [[]])[0]) >= num_lines


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow  # test_pool.py kills a worker
def test_killed_worker_is_replaced_and_its_candidate_measured(make_config, search, expected, monkeypatch):
    monkeypatch.undo()  # what is killed is a real worker
    config = make_config(search=LARGE)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(search, config)
        assert wait_until(lambda: has_measured(config, 4), "four losses", is_running=lambda: not running.done())
        kill_one("ray::LossWorker", random.Random(0), os.getpid())
        assert timeless(running.result()) == expected


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow  # what a kill leaves is cut off above
def test_killed_search_goes_on_to_the_same_end(make_config, search, adapters, expected, tmp_path):
    """Killed in a process with a Ray of its own; the same search goes on here."""
    config = make_config(search=LARGE, ray={"num_cpus": 4})
    write_config(config)
    command = [sys.executable, "-m", "tests.evaluation.experiments.search_run", str(config.run_dir / "config.yaml")]
    command += [str(adapter.folder) for adapter in adapters[:2]]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
    is_running = lambda: process.poll() is None  # noqa: E731
    is_reached = wait_until(lambda: has_measured(config, 4), "four losses", is_running=is_running)
    process.kill()
    process.wait()
    assert is_reached, (tmp_path / "said").read_text()[-1000:]
    (before,) = read_log(config)
    assert len(before) < len(expected["candidates"])
    assert timeless(search(config)) == expected
    (after,) = read_log(config)
    assert after[: len(before) - 1] == before[:-1]
    assert len({json.loads(line)["key"] for line in after}) == len(after)


def test_one_adapter_has_nothing_to_be_merged_with(make_config, tiny_model_dir, adapters):
    with pytest.raises(UserError, match=r"at least two adapters, and there are 1; .*`experiment\.num_shards`"):
        search_losses(make_config(), tiny_model_dir, adapters[:1], {"one": ["ner_tagging"]})


def test_records_without_validation_rows_say_how_to_get_them(make_config, search):
    config = make_config()
    for folder in config.records_dir.glob("*/split=validation"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"no split `validation`.*set `data\.validation_share`"):
        search(config)


def test_grid_of_nothing_is_refused(make_config, search):
    with pytest.raises(UserError, match="leaves nothing to try"):
        search(make_config(search={"scales": (0.0,)}))


def test_adapters_of_another_base_are_refused(make_config, adapters, tmp_path):
    with pytest.raises(UserError, match="was trained on"):
        search_losses(make_config(), tmp_path / "other", adapters[:2], TASKS_OF)


def test_ranks_that_no_method_takes_are_refused_before_work(
    make_config, make_adapter, adapters, tiny_model_dir, tmp_path
):
    other = AdapterFile.open(make_adapter(tmp_path / "other" / "adapter", 5, r=8))
    with pytest.raises(UserError, match="needs equal ranks"):
        search_losses(make_config(), tiny_model_dir, [adapters[0], other], TASKS_OF)


@pytest.mark.usefixtures("ray_session")
def test_task_without_validation_rows_is_named(make_config, search):
    config = make_config()
    shutil.rmtree(config.records_dir / "task=classification" / "split=validation")
    artifacts.write_manifest(config.records_dir, "records", "inputs", {})  # as if there had never been any
    with pytest.raises(UserError, match="no row of split `validation` can be used for classification"):
        search(config)
    assert read_log(config) == []
