"""The best few merges by loss, put to the test: they generate answers, and the tasks' own metrics decide."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config, MergeSection
from eshop_ray.data.cleaning import VALIDATION
from eshop_ray.errors import UserError
from eshop_ray.evaluation.evaluate import read_groups, score_group
from eshop_ray.evaluation.experiments.candidates import Candidate
from eshop_ray.evaluation.experiments.chains import ANSWER, MERGE_AND_ANSWER, Chain, needs_of_inference
from eshop_ray.evaluation.experiments.launch import run_chains
from eshop_ray.evaluation.experiments.members import MIXED, Member, derive_run
from eshop_ray.evaluation.experiments.pareto import pick_few
from eshop_ray.evaluation.experiments.promotion import choose
from eshop_ray.evaluation.experiments.search import search_losses
from eshop_ray.models import fetch_model
from eshop_ray.places import place_of
from eshop_ray.reporting.page import Table
from eshop_ray.reporting.terminal import print_table
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.merging.similarity import measure_similarity

SEARCH, SIMILARITY, RECIPE, REJECTED = "search.json", "similarity.json", "recipe.yaml", "rejected.yaml"
"""In the experiment's directory: all candidates, how alike the adapters are, and the chosen merge, promoted or not."""

Search = Mapping[str, Any]
"""The content of a `search.json`."""


def open_adapters(members: Iterable[Member]) -> dict[str, AdapterFile]:
    """Return member's name -> its adapter.

    Raises:
        UserError: if one has not been trained.
    """
    opened = {}
    for member in members:
        folder = member.config.run_dir / "adapter"
        artifacts.read_manifest(folder, job="train_strategies")
        opened[member.name] = AdapterFile.open(folder)
    return opened


def find_candidates(config: Config, members: Sequence[Member]) -> dict[str, Any]:
    """Write `similarity.json`, and measure the losses of all candidates: merges of the tasks' own adapters.

    Returns:
        What `confirm` takes.

    Raises:
        UserError: if an adapter is missing, or they do not go together.
    """
    adapters = open_adapters(members)
    model_dir = fetch_model(config.model)
    num_workers = config.search.num_workers or 1
    start_ray(config.ray, num_cpus=num_workers, num_gpus=num_workers * config.search.use_gpu)
    artifacts.write_json(config.run_dir / SIMILARITY, measure_similarity(list(adapters.values())))
    tasks_of = {member.name: member.tasks for member in members if member.strategy == "single"}
    own = [adapters[name] for name in tasks_of]
    return search_losses(config, model_dir, own, tasks_of, adapters.get(MIXED))


def confirm(config: Config, members: Sequence[Member], search: Search) -> dict[str, Any]:
    """Let the best candidates and the tasks' own adapters answer `validation`, and choose.

    Args:
        config: The experiment's.
        members: All adapters of the experiment.
        search: What `search_losses` returned.

    Returns:
        The complete content of `search.json`.

    Raises:
        UserError: if no candidate has finite losses, or a run failed.
    """
    started = time.monotonic()
    confirmed = pick_few(search["candidates"], config.search.num_confirmed)
    if not confirmed:
        raise UserError("no candidate has finite losses: the adapters are broken, or `search.scales` are far too large")
    single = [member for member in members if member.strategy == "single"]
    merges = {name: _to_validation(derive_merge(config, search, name), config) for name in confirmed}
    owners = {member.name: _to_validation(member.config, config) for member in single}
    model_dir = fetch_model(config.model)
    chains = [build_chain(run, model_dir) for run in [*owners.values(), *merges.values()]]
    run_chains(config, chains, needs_of_inference(config.infer))
    scores = {name: score_tasks(run.predictions_dir("merged")) for name, run in {**owners, **merges}.items()}
    best = _find_best(single, scores)
    single_scores = {task: scores[name][task] for task, name in best.items()}
    choice = choose({name: scores[name] for name in confirmed}, single_scores, config.search.max_lost_share)
    outcome = {
        "candidates": [{**each, "scores": scores.get(each["id"])} for each in search["candidates"]],
        "confirmed": confirmed,
        "single_members": best,
        "single_scores": single_scores,
        "chosen": choice.id,
        "promoted": choice.promoted,
        "lost": choice.lost,
        "verdict": choice.verdict,
    }
    seconds = max(time.monotonic() - started, _read_earlier_seconds(config, search, confirmed))
    return {**search, **outcome, "confirm_seconds": round(seconds, 3)}


def build_chain(run: Config, model_dir: Path) -> Chain:
    """Return the jobs after which a run of adapters has answered.

    Merging is left out where `merged/` is current: that spares a process which loads PyTorch only to find it out.
    """
    merged_dir = run.run_dir / "merged"
    manifest = artifacts.find_complete(merged_dir)
    is_merged = manifest is not None and manifest.inputs == Recipe.of(run, model_dir).inputs
    return Chain(run, ANSWER if is_merged else MERGE_AND_ANSWER)


def derive_merge(config: Config, search: Search, candidate_id: str) -> Config:
    """Return the config of the run `merges/CANDIDATE_ID/`, which answers all tasks of the search's adapters."""
    tasks = dict.fromkeys(task for adapter in search["adapters"] for task in adapter["tasks"])
    return derive_run(config, "merges", candidate_id, tuple(tasks), merge=to_merge(search, candidate_id))


def to_merge(search: Search, candidate_id: str) -> MergeSection:
    """Return a candidate as `merge_lora` takes it; it then refuses adapters that have changed since the search."""
    found = next(candidate for candidate in search["candidates"] if candidate["id"] == candidate_id)
    candidate = Candidate(found["method"], tuple(found["weights"]), found["density"], found["wise_ft"])
    adapters = search["adapters"]
    return candidate.to_merge([adapter["dir"] for adapter in adapters], [adapter["digest"] for adapter in adapters])


def score_tasks(predictions_dir: Path) -> dict[str, float]:
    """Return task -> score of a model's answers; of several groups of rows the mean."""
    scores: dict[str, list[float]] = {}
    for _, rows in read_groups(predictions_dir):
        scores.setdefault(rows[0]["task"], []).append(score_group(rows)["score"])
    return {task: fmean(values) for task, values in scores.items()}


def write_outcome(config: Config, search: Search) -> Path:
    """Write `search.json` and the chosen merge as a config that `merge_lora` runs as it is.

    Returns:
        `recipe.yaml`, or `rejected.yaml` where the merge was not promoted: only one of them is there afterwards.
    """
    name, other = (RECIPE, REJECTED) if search["promoted"] else (REJECTED, RECIPE)
    merge = to_merge(search, search["chosen"])
    # Named in the recipe even where they are defaults, which may be others one day.
    model = config.model.model_copy(update={"source": config.model.source})
    own = {"run_root": place_of(config.run_dir.parent), "seed": config.seed, "model": model, "merge": merge}
    # What the experiment's own config says stays in it: the run directory's `config.yaml` goes on explaining the run.
    values = config.model_copy(update=own).model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    artifacts.remove(config.run_dir / other)
    artifacts.write_text(config.run_dir / name, f"# {search['verdict']}\n{text}")
    artifacts.write_json(config.run_dir / SEARCH, search)
    return config.run_dir / name


def print_candidates(search: Search) -> None:
    """Print the confirmed candidates beside the tasks' own adapters: losses, then scores of `validation`."""
    tasks = list(search["single_scores"])
    own = [search["single_scores"][task] for task in tasks]
    rows = [("own adapters", "", "", *(f"{score:.3f}" for score in (*own, fmean(own))))]
    for candidate in search["candidates"]:
        if candidate["id"] in search["confirmed"]:
            scores = [candidate["scores"][task] for task in tasks]
            numbers = (candidate["mean"], candidate["worst"], *scores, fmean(scores))
            rows.append((candidate["id"], *(f"{number:.3f}" for number in numbers)))
    table = Table(("merge", "mean loss", "worst loss", *tasks, "mean"), rows)
    chosen = [search["chosen"]] if search["promoted"] else []
    print_table(table, "losses: 1 is a task's own adapter's", bold=chosen)


def read_search(config: Config) -> dict[str, Any] | None:
    """Return the experiment's `search.json`; None before its first search."""
    return _read(config.run_dir / SEARCH)


def read_similarity(config: Config) -> dict[str, Any] | None:
    """Return the experiment's `similarity.json`; None before its first search."""
    return _read(config.run_dir / SIMILARITY)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def _to_validation(run: Config, config: Config) -> Config:
    infer = run.infer.model_copy(update={"max_rows": config.search.max_confirm_rows})
    evaluate = run.evaluate.model_copy(update={"split": VALIDATION})
    return run.model_copy(update={"infer": infer, "evaluate": evaluate})


def _find_best(single: Sequence[Member], scores: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return task -> the best of the adapters that were trained on it alone, by shard or seed; the first of equals."""
    best: dict[str, str] = {}
    for member in single:
        (task,) = member.tasks
        if task not in best or scores[member.name][task] > scores[best[task]][task]:
            best[task] = member.name
    return best


def _read_earlier_seconds(config: Config, search: Search, confirmed: Sequence[str]) -> float:
    """Return what the same confirmation took when its answers were not there yet."""
    earlier = read_search(config) or {}
    is_same = (earlier.get("inputs"), earlier.get("confirmed")) == (search["inputs"], list(confirmed))
    return float(earlier["confirm_seconds"]) if is_same else 0.0
