"""An experiment as a person reads it: a table on the terminal, `experiment.md`, and `experiment.html`.

The HTML page needs no other file; Markdown shows pictures that stand beside it.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from eshop_ray.evaluation.experiments.charts import STRATEGIES, Content, draw_scores
from eshop_ray.evaluation.experiments.merge_report import (
    PARETO,
    SIMILARITY,
    list_best,
    show_candidates,
    show_similarity,
    tell_recipe,
)
from eshop_ray.evaluation.experiments.words import write_number, write_score, write_test
from eshop_ray.evaluation.significance import SIGNIFICANT, note_few_rows, write_num_rows
from eshop_ray.reporting.page import Chart, Level, Page, Section, Table, code
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import NONE, format_seconds

SCORES = "scores.svg"
"""A picture beside `experiment.md`."""


def write_report(run_dir: Path, experiment: Content, search: Content | None, similarity: Content | None) -> Path:
    """Write `experiment.md`, the pictures that it shows, and `experiment.html` into the experiment's directory.

    Args:
        run_dir: Of the experiment; its name is the title.
        experiment: Scores and budget of every strategy.
        search: Of merges; None where nothing was merged.
        similarity: Of the adapters; None where it was not measured.

    Returns:
        The HTML file.
    """
    page = build_page(run_dir.name, experiment, search, similarity)
    return write_page(page, run_dir, "experiment", (SCORES, PARETO, SIMILARITY))


def build_page(name: str, experiment: Content, search: Content | None, similarity: Content | None) -> Page:
    """Put the report together: who won where, at what price, and how the merge was found."""
    is_rejected = search is not None and not search["promoted"]
    level: Level = "attention" if is_rejected or any(_count_errors(experiment)) else "well"
    sections = [_show_scores(experiment), _show_budget(experiment)]
    if search:
        sections += [tell_recipe(search), show_candidates(search), list_best(search)]
    if similarity and len(similarity["adapters"]) > 1:
        sections += show_similarity(similarity)
    return Page(name, level, experiment["verdict"], sections)


def print_scores(experiment: Content) -> None:
    """Print the scores of all strategies side by side, and the verdict."""
    print_table(_tabulate_scores(experiment), f"split {experiment['split']}", bold=["mean"])
    Console().print(Text(" ".join(experiment["verdict"].split())))


def _show_scores(experiment: Content) -> Section:
    sentences = [
        f"Split {code(experiment['split'])}. In brackets the range in which 95 % of the scores lie when the rows are "
        "drawn again (bootstrap). The lead of the best is clear if chance explains it against no other strategy on the "
        f"same rows (p below {SIGNIFICANT}, corrected for all tests of the table); else it is noise."
    ]
    sentences += note_few_rows(task["num_rows"] for task in experiment["tasks"].values())
    failed = "; ".join(_count_errors(experiment))
    sentences += [f"Failed rows count as wrong: {failed}."] if failed else []
    chart = Chart(partial(draw_scores, experiment), "Score of every strategy, by task", SCORES)
    tests = _tabulate_tests(experiment)
    if tests.rows:
        sentences.append(
            "The second table has the tests, paired by row: how far the best is ahead, in brackets with the 95 % "
            "interval, on how many rows each of the two is better, p corrected by Holm, and the smallest difference "
            "that four out of five such samples would show."
        )
    tables = [_tabulate_scores(experiment), tests] if tests.rows else [_tabulate_scores(experiment)]
    return Section("Scores", sentences, tables, [chart])


def _tabulate_tests(experiment: Content) -> Table:
    rows = [
        (name, task["best"], strategy, *write_test(score["behind"]))
        for name, task in experiment["tasks"].items()
        for strategy, score in task["strategies"].items()
        if "behind" in score
    ]
    return Table(("task", "best", "against", "ahead by", "rows", "p", "could show"), rows, num_text=3)


def _tabulate_scores(experiment: Content) -> Table:
    shown = [name for name in STRATEGIES if name in experiment["mean"]]
    rows = []
    for name, task in experiment["tasks"].items():
        scores = [write_score(task["strategies"].get(strategy)) for strategy in shown]
        lead = NONE if len(task["strategies"]) < 2 else "clear" if task["is_clear"] else "noise"
        rows.append((name, task["metric"], task["best"], lead, write_num_rows(task["num_rows"]), *scores))
    means = (write_number(experiment["mean"][strategy]) for strategy in shown)
    rows.append(("mean", "", "", "", "", *means))
    return Table(("task", "metric", "best", "lead", "rows", *shown), rows, num_text=4)


def _count_errors(experiment: Content) -> Iterator[str]:
    for name, task in experiment["tasks"].items():
        for strategy, score in task["strategies"].items():
            if score["num_errors"]:
                yield f"{code(name)} {strategy} {score['num_errors']:,}"


def _show_budget(experiment: Content) -> Section:
    budget = experiment["budget"]
    rows = [
        (
            strategy,
            f"{budget[strategy]['num_adapters']:,}",
            f"{budget[strategy]['num_rows']:,}",
            format_seconds(budget[strategy]["seconds"]),
            format_seconds(budget[strategy].get("search_seconds") or None),
        )
        for strategy in STRATEGIES
        if strategy in budget
    ]
    sentence = (
        "A row that an adapter learns from twice is visited twice. Seconds of training are added up over adapters."
    )
    return Section("Budget", [sentence], [Table(("strategy", "adapters", "row visits", "training", "search"), rows)])
