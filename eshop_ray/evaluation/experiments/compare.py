"""Strategies side by side: every one answers the same rows, and a difference is called clear only if it is."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.splits import read_clusters
from eshop_ray.errors import UserError
from eshop_ray.evaluation.evaluate import NO_CLUSTERS, Clusters, count_rows, name_clusters, read_groups, score_group
from eshop_ray.evaluation.experiments.chains import ANSWER, Chain, needs_of_inference
from eshop_ray.evaluation.experiments.confirm import Search, build_chain, derive_merge, read_search
from eshop_ray.evaluation.experiments.launch import run_chains
from eshop_ray.evaluation.experiments.members import MIXED, Member, derive_run
from eshop_ray.evaluation.significance import add_adjusted, compare_pairs, is_clear
from eshop_ray.models import fetch_model
from eshop_ray.schema import Row
from eshop_ray.tasks.metrics.bootstrap import add_up_clusters, interval
from eshop_ray.tasks.metrics.metric import Numbers
from eshop_ray.training.trainer import HISTORY

EXPERIMENT = "experiment.json"

Answers = Mapping[str, Sequence[Row]]
"""Strategy -> its answers to the same rows, sorted by id."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A run that answers for a strategy: all tasks, or its own."""

    strategy: str
    config: Config

    @property
    def predictions_dir(self) -> Path:
        """Its answers to `evaluate.split`."""
        return self.config.predictions_dir(self.config.infer.models[0])


def compare(config: Config, members: Sequence[Member]) -> dict[str, Any]:
    """Have every strategy answer `evaluate.split` and return `experiment.json`.

    Of several adapters of a task the one answers that was best on `validation`.

    Raises:
        UserError: if nothing has been trained, or a run failed.
    """
    trained = [member for member in members if artifacts.find_manifest(member.config.run_dir / "adapter")]
    if not trained:
        raise UserError(f"{config.run_dir} has no adapters; run `eshop train-strategies` first")
    search = read_search(config) if "merged" in config.experiment.strategies else None
    contenders = list(plan_contenders(config, members, trained, search))
    base, *tuned = contenders
    model_dir = fetch_model(config.model)
    chains = [Chain(base.config, ANSWER), *(build_chain(contender.config, model_dir) for contender in tuned)]
    run_chains(config, chains, needs_of_inference(config.infer))
    units = dict(sorted(read_units(contenders).items()))
    clusters = read_clusters(config.records_dir, config.evaluate.split, config.evaluate.clusters)
    tasks = {name: compare_answers(answers, config.seed, clusters) for name, answers in units.items()}
    judge(tasks)
    means = average(tasks, list(dict.fromkeys(contender.strategy for contender in contenders)))
    promoted = bool(search and search["promoted"])
    return {
        "split": config.evaluate.split,
        "tasks": tasks,
        "mean": means,
        "budget": {strategy: add_up(strategy, trained, search) for strategy in means},
        "promoted": promoted,
        "verdict": word_verdict(tasks, means, search),
    }


def plan_contenders(
    config: Config, members: Sequence[Member], trained: Sequence[Member], search: Search | None
) -> Iterator[Contender]:
    """Yield who answers, the base first; strategies that were not trained are left out."""
    tasks = list(dict.fromkeys(task for member in members for task in member.tasks))
    base = config.infer.model_copy(update={"models": ("base",)})
    yield Contender("base", derive_run(config, "", "base", tasks, infer=base))
    chosen = dict(search["single_members"]) if search else {}
    for member in trained:
        if member.strategy == "single" and chosen.setdefault(member.tasks[0], member.name) == member.name:
            yield Contender("single", member.config)
    for member in trained:
        if member.name == MIXED:
            yield Contender(MIXED, member.config)
    if search:
        yield Contender("merged", derive_merge(config, search, search["chosen"]))


def read_units(contenders: Iterable[Contender]) -> dict[str, dict[str, list[Row]]]:
    """Return what is scored by itself -> strategy -> answers: a task, or TASK/GROUP where a task has several groups."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for contender in contenders:
        for group, rows in read_groups(contender.predictions_dir):
            found.setdefault((rows[0]["task"], group), {})[contender.strategy] = rows
    names = [task for task, _ in found]
    return {task if names.count(task) == 1 else f"{task}/{group}": rows for (task, group), rows in found.items()}


def compare_answers(answers: Answers, seed: int, clusters: Clusters = NO_CLUSTERS) -> dict[str, Any]:
    """Score every strategy, and test the best one against each other one on the same rows.

    Returns:
        `metric`, `num_rows`, `strategies` (each with its bootstrap interval and, but for the best one, the fields of
        `PairedTest` as `behind`: by how much the best is ahead), and `best`.

    Raises:
        UserError: if the strategies did not answer the same rows.
    """
    _check_same_rows(answers)
    groups = {strategy: score_group(rows) for strategy, rows in answers.items()}
    best = max(groups, key=lambda strategy: groups[strategy]["score"])
    metric = groups[best]["metric"]
    counts = {strategy: count_rows(rows) for strategy, rows in answers.items()}
    names = name_clusters(answers[best], clusters)
    scored = {
        strategy: _add_interval(
            groups[strategy], add_up_clusters(counts[strategy], names) if names else counts[strategy], seed
        )
        for strategy in answers
    }
    for strategy, values in scored.items():
        if strategy != best:
            values["behind"] = asdict(compare_pairs(metric, counts[best], counts[strategy], seed, names))
    return {"metric": metric, "num_rows": len(counts[best]), "strategies": scored, "best": best}


def judge(tasks: Mapping[str, dict[str, Any]]) -> None:
    """Set `is_clear` of every task: whether its best beats every other one by more than chance explains.

    The p-values are corrected for all tests of the table, as `p_adjusted` of each `behind`.
    """
    tests = [one["behind"] for task in tasks.values() for one in task["strategies"].values() if "behind" in one]
    add_adjusted(tests)
    for task in tasks.values():
        behind = [one["behind"] for one in task["strategies"].values() if "behind" in one]
        task["is_clear"] = all(is_clear(test["difference"], test["p_adjusted"]) for test in behind)


def _check_same_rows(answers: Answers) -> None:
    ids = {strategy: {row["id"] for row in rows} for strategy, rows in answers.items()}
    (first, expected), *others = ids.items()
    for strategy, found in others:
        if found != expected:
            shown = ", ".join(sorted(found ^ expected)[:3])
            raise UserError(
                f"`{first}` and `{strategy}` did not answer the same rows of {next(iter(answers[first]))['task']}: "
                f"{len(found ^ expected)} are missing on one side, such as {shown}; run `eshop compare-strategies` "
                "after removing the answers that are older"
            )


def average(tasks: Mapping[str, Any], strategies: Iterable[str]) -> dict[str, float | None]:
    """Return strategy -> mean score over the tasks; None for one that does not answer all of them."""
    means: dict[str, float | None] = {}
    for strategy in strategies:
        scores = [task["strategies"][strategy]["score"] for task in tasks.values() if strategy in task["strategies"]]
        means[strategy] = fmean(scores) if len(scores) == len(tasks) else None
    return means


def add_up(strategy: str, trained: Iterable[Member], search: Search | None) -> dict[str, float]:
    """Return what a strategy cost: row visits and seconds of its adapters' training, seconds of the search."""
    kind = "single" if strategy == "merged" else strategy
    folders = [member.config.run_dir / "adapter" for member in trained if member.strategy == kind]
    histories = [json.loads((folder / HISTORY).read_text()) for folder in folders]
    search_seconds = search["seconds"] + search["confirm_seconds"] if search and strategy == "merged" else 0.0
    return {
        "num_adapters": len(histories),
        "num_rows": sum(history["num_rows"] * history.get("num_epochs", 1) for history in histories),
        "seconds": round(sum(history["seconds"] for history in histories), 3),
        "search_seconds": round(search_seconds, 3),
    }


def word_verdict(tasks: Mapping[str, Any], means: Mapping[str, float | None], search: Search | None) -> str:
    """Say in one sentence which strategy is best on average, where that is clear, and what became of the merge."""
    known = {strategy: mean for strategy, mean in means.items() if mean is not None}
    best = max(known, key=lambda strategy: known[strategy])
    others = ", ".join(f"{strategy} {mean:.3f}" for strategy, mean in known.items() if strategy != best)
    clear = [name for name, task in tasks.items() if task["is_clear"] and task["best"] == best]
    where = f"clearly best on {', '.join(clear)}" if clear else "clearly best on no single task"
    gate = "" if search is None or search["promoted"] else "; the merge was not promoted"
    return f"The best mean score has {best}, {known[best]:.3f} ({others}); it is {where}{gate}."


def _add_interval(group: Mapping[str, Any], counts: Numbers, seed: int) -> dict[str, Any]:
    low, high = interval(group["metric"], counts, seed)
    return {"score": group["score"], "low": low, "high": high, "num_errors": group["num_errors"]}
