"""The matrix as a person reads it: verdicts, tables, curves and costs, as `matrix.md` and as `matrix.html`."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eshop_ray.evaluation.experiments.words import write_number, write_score
from eshop_ray.evaluation.matrix.charts import SERIES, draw_curve
from eshop_ray.evaluation.seen_table import show_seen
from eshop_ray.evaluation.significance import SIGNIFICANT, note_few_rows, write_num_rows, write_p_value
from eshop_ray.reporting.page import Chart, Level, Page, Section, Table
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import NONE, count, format_seconds

Outcome = Mapping[str, Any]
"""The content of a `matrix.json`."""


def write_report(run_dir: Path, outcome: Outcome) -> Path:
    """Write `matrix.md`, its pictures, and `matrix.html`, which needs no other file; return the latter."""
    page = build_page(run_dir.name, outcome)
    pictures = [chart.file for section in page.sections for chart in section.charts if chart.file]
    return write_page(page, run_dir, "matrix", pictures)


def build_page(name: str, outcome: Outcome) -> Page:
    """Put the report together: what to take, then the numbers behind it."""
    level: Level = "attention" if outcome["missing"] else "well"
    tasks = list(outcome["verdicts"])
    sections = [
        Section("What to take", list(outcome["verdicts"].values())),
        _show_scores(outcome),
        _show_curves(outcome, tasks),
        *_show_examples(outcome, tasks),
        *_show_cells(outcome, tasks),
        *_show_one_model(outcome),
        *([show_seen(outcome["seen_in_training"])] if outcome.get("seen_in_training") else []),
        *_show_missing(outcome),
    ]
    return Page(name, level, _sum_up(outcome), sections)


def print_outcome(outcome: Outcome) -> None:
    """Print the best score of each model and strategy, and the verdicts."""
    print_table(_tabulate_scores(outcome), _sum_up(outcome))
    for verdict in outcome["verdicts"].values():
        print(verdict)


def _sum_up(outcome: Outcome) -> str:
    cells = f"{count(len(outcome['cells']), 'cell')} of {count(len(outcome['verdicts']), 'task')}"
    missing = f"; {count(len(outcome['missing']), 'cell')} missing" if outcome["missing"] else ""
    shares = [f"{name} keeps {share:.1%}" for name, share in outcome["one_model_share"].items()]
    kept = f". Of the mean of the tasks' own adapters, {' and '.join(shares)}" if shares else ""
    return f"{cells}{missing}{kept}."


def _list_series(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = {(cell["model"], cell["strategy"]) for cell in cells}
    return [key for key in SERIES if key in found]


def _show_scores(outcome: Outcome) -> Section:
    sentences = [
        "Of each model and strategy the size that scored best, or the number of examples; of several seeds the best "
        "one. In brackets the range in which 95 % of the scores lie when the rows are drawn again (bootstrap)."
    ]
    sentences += note_few_rows(cell["n"] for cell in outcome["cells"])
    failed = [
        f"{cell['task']} {SERIES[_key(cell)][0]} {cell['num_errors']:,}"
        for cell in outcome["cells"]
        if cell["num_errors"]
    ]
    sentences += [f"Failed rows count as wrong: {'; '.join(failed)}."] if failed else []
    untrained = sorted({SERIES[_key(cell)][0] for cell in outcome["cells"] if not cell["pretrained"]})
    sentences += [f"Not pretrained, and left out of verdicts: {', '.join(untrained)}."] if untrained else []
    return Section("Scores", sentences, [_tabulate_scores(outcome)])


def _tabulate_scores(outcome: Outcome) -> Table:
    series = _list_series(outcome["cells"])
    rows = []
    for task in outcome["verdicts"]:
        own = [cell for cell in outcome["cells"] if cell["task"] == task]
        scores = [_find_best([cell for cell in own if _key(cell) == key]) for key in series]
        told = (own[0]["metric"], write_num_rows(own[0]["n"])) if own else (NONE, NONE)
        rows.append((task, *told, *map(write_score, scores)))
    return Table(("task", "metric", "rows", *(SERIES[key][0] for key in series)), rows, num_text=2)


def _find_best(cells: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return max(cells, key=lambda cell: cell["score"], default=None)


def _key(cell: Mapping[str, Any]) -> tuple[str, str]:
    return cell["model"], cell["strategy"]


def _show_curves(outcome: Outcome, tasks: Sequence[str]) -> Section:
    charts = []
    for number, task in enumerate(tasks):
        cells = [cell for cell in outcome["cells"] if cell["task"] == task]
        charts.append(Chart(partial(draw_curve, cells), f"{task}: score by training rows", f"curve_{number}.svg"))
    return Section("Curves", charts=charts)


def _show_examples(outcome: Outcome, tasks: Sequence[str]) -> Iterator[Section]:
    """Scores by the number of examples in the prompt, where there are several."""
    cells = [cell for cell in outcome["cells"] if cell["num_examples"] or cell["strategy"] == "zero-shot"]
    numbers = sorted({cell["num_examples"] for cell in cells})
    choices = list(dict.fromkeys(cell["example_choice"] for cell in cells if cell["num_examples"]))
    if len({(cell["num_examples"], cell["example_choice"]) for cell in cells if cell["num_examples"]}) < 2:
        return
    scores = {(cell["task"], cell["num_examples"], cell["example_choice"]): cell for cell in cells}
    rows = [
        (task, choice, *(write_score(scores.get((task, number, choice if number else None))) for number in numbers))
        for task in tasks
        for choice in choices
    ]
    header = ("task", "choice", *(count(number, "example") for number in numbers))
    yield Section("Examples in prompts", tables=[Table(header, rows, num_text=2)])


def _show_cells(outcome: Outcome, tasks: Sequence[str]) -> Iterator[Section]:
    """Every cell with its test and its cost, task by task."""
    sentences = [
        "p: of a test of the task's best against this one, paired by row and corrected for all tests of the matrix "
        f"(Holm); below {SIGNIFICANT} the best is clearly ahead. Such rows would show a difference as large as the "
        "next column says, four times out of five.",
        "Training is in seconds of learning, of all adapters that are in a model, whatever other tasks it serves. "
        "Tokens are those of prompt and answer, per row.",
        *([] if outcome["price_per_hour"] else ["No price per million: `matrix.price_per_hour` is not set."]),
    ]
    header = ("model", "seed", "learned", "score", "p", "could show", "training", "rows/s", "tokens", "per million")
    for task in tasks:
        cells = [cell for cell in outcome["cells"] if cell["task"] == task]
        cells.sort(key=lambda cell: (list(SERIES).index(_key(cell)), cell["size"], cell["num_examples"], cell["seed"]))
        yield Section(f"Cells: {task}", sentences, [Table(header, [_write_cell(cell) for cell in cells])])
        sentences = []


def _write_cell(cell: Mapping[str, Any]) -> tuple[str, ...]:
    shots = f", {cell['num_examples']} {cell['example_choice']}" if cell["num_examples"] else ""
    return (
        f"{SERIES[_key(cell)][0]}{shots}",
        str(cell["seed"]),
        f"{cell['num_train_rows']:,}" if cell["size"] else NONE,
        write_score(cell),
        NONE if cell["p_vs_best"] is None else write_p_value(cell["p_vs_best"]),
        write_number(cell["detectable"]),
        format_seconds(cell["train_seconds"] or None),
        NONE if cell["rows_per_second"] is None else f"{cell['rows_per_second']:,.3g}",
        f"{cell['tokens_per_row']:,.0f}",
        NONE if cell["price_per_million"] is None else f"{cell['price_per_million']:,.4g}",
    )


def _show_one_model(outcome: Outcome) -> list[Section]:
    shares = outcome["one_model_share"]
    if not shares:
        return []
    sentence = "Mean score over the tasks at the largest size, as a share of the mean of the tasks' own adapters."
    rows = [(name, f"{share:.1%}") for name, share in shares.items()]
    speed = outcome["switched_vs_dense"]
    told = [] if speed is None else [f"`switched` answered {speed:.2f} times as fast as the tasks' own models."]
    if (exchange := outcome["switch_seconds"]) is not None:
        told.append(f"It took {exchange:.2f} s to exchange the weights of one task for another's.")
    return [Section("One model for all tasks", [sentence, *told], [Table(("strategy", "share"), rows)])]


def _show_missing(outcome: Outcome) -> list[Section]:
    if not outcome["missing"]:
        return []
    sentence = "These cells failed. Mend the cause and give the same command again: what is complete is kept."
    rows = [
        (one["task"], SERIES[_key(one)][0], f"{one['size']:,}", str(one["seed"]), one["reason"])
        for one in outcome["missing"]
    ]
    return [Section("Missing", [sentence], [Table(("task", "model", "size", "seed", "reason"), rows, num_text=5)])]
