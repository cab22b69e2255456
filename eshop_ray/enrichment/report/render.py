"""The morning report of an enrichment run: is all well, what changed, what is in trouble, what did it cost.

`enrichment.json` in, `enrichment.md` and `enrichment.html` out. The page is put together once, from the run's numbers
alone, and written in both forms.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import shorten_digest
from eshop_ray.enrichment.histogram import Histogram
from eshop_ray.enrichment.report import charts
from eshop_ray.enrichment.report.canary import show_canary
from eshop_ray.enrichment.report.verdict import judge
from eshop_ray.reporting.page import Chart, Page, Section, Table, code
from eshop_ray.reporting.picture import BLUE, GRAY, ORANGE
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.words import NONE, count, format_seconds

NAME = "enrichment"
"""Of both files."""
Stats = Mapping[str, Any]
"""The content of an `enrichment.json`."""

TASK_COLUMNS = ("new", "changed", "unchanged", "deleted", "quarantined", "inferred", "reused")
TOKEN_COLUMNS = ("input_tokens", "generated_tokens")
COMPARED = {
    "num_products": "products",
    "num_reviews": "reviews",
    "num_rows": "rows (product and task)",
    "num_new": "new",
    "num_changed": "changed",
    "num_unchanged": "unchanged",
    "num_deleted": "deleted",
    "num_empty": "with nothing to ask",
    "num_quarantined": "in quarantine",
    "num_inferred": "asked of the model",
    "num_duplicates_reused": "same prompt as another, answered once",
    "num_input_tokens": "input tokens",
    "num_generated_tokens": "generated tokens",
}
"""Name in `enrichment.json` -> words, in the order of the table that compares with the last run."""

LENGTHS = {
    "input_tokens": ("input tokens of a prompt", BLUE),
    "generated_tokens": ("generated tokens of an answer", ORANGE),
    "prediction_characters": ("characters of a prediction", GRAY),
}
"""Name of a histogram -> what it counts, and the colour of its bars."""


def write_report(run_dir: Path, stats: Stats) -> Path:
    """Write both forms of the report into the run directory, each whole or not at all.

    Returns:
        The HTML file.
    """
    return write_page(build_page(stats), run_dir, NAME)


def write_refusal(run_dir: Path, facts: Stats, reason: str) -> Path:
    """Write the report of a night that its canary ended, in the place of the last night's.

    Args:
        run_dir: The run directory; its `enrichment.json` stays as it is.
        facts: What `describe_run` returns.
        reason: What the canary found.

    Returns:
        The HTML file.
    """
    sections = [*show_canary(facts), _describe_run(facts)]
    return write_page(Page(_title(facts), "failed", f"The run ended at its canary. {reason}.", sections), run_dir, NAME)


def build_page(stats: Stats) -> Page:
    """Put the report together; its charts are shown in HTML only."""
    verdict = judge(stats)
    sections = [
        _describe_changes(stats),
        *_show_examples(stats),
        *show_canary(stats),
        _describe_trouble(stats),
        _describe_cost(stats),
        _describe_run(stats),
    ]
    return Page(_title(stats), verdict.level, verdict.sentence, sections)


def _describe_changes(stats: Stats) -> Section:
    chart = Chart(partial(charts.draw_changes, stats["tasks"]), "What changed, by task")
    return Section(
        "What changed", list(_word_changes(stats)), [_compare(stats), _tabulate_tasks(stats["tasks"])], [chart]
    )


def _show_examples(stats: Stats) -> Iterator[Section]:
    names = ("product_id", "task", "status", "before", "after")
    rows = [[example[name] or NONE for name in names] for example in stats["examples"]]
    if rows:
        yield Section("Before and after", (), [Table(("product", *names[1:]), rows, num_text=len(names))])


def _word_changes(stats: Stats) -> Iterator[str]:
    previous = stats["previous"]
    if previous is None:
        yield "This is the first run: there is nothing to compare with."
        return
    for name, noun in (("model_digest", "model"), ("engine", "engine")):
        before, now = previous.get(name), stats[name]
        if before and before != now:
            yield f"The {noun} is another: {code(shorten_digest(now))}, in the last run {code(shorten_digest(before))}."
    if not any(stats[f"num_{name}"] for name in charts.CHANGE_COLORS):
        yield "Nothing changed since the last run."


def _compare(stats: Stats) -> Table:
    previous = stats["previous"] or {}
    rows = [(words, _number(stats[name]), _number(previous.get(name))) for name, words in COMPARED.items()]
    rows.append(("duration", format_seconds(stats["seconds"]), format_seconds(previous.get("seconds"))))
    return Table(("", "this run", "last run"), rows)


def _tabulate_tasks(tasks: Mapping[str, Mapping[str, int]]) -> Table:
    columns = (*TASK_COLUMNS, *TOKEN_COLUMNS)
    rows = [(name, *(_number(task[column]) for column in columns)) for name, task in tasks.items()]
    return Table(("task", *(column.replace("_", " ") for column in columns)), rows)


def _describe_trouble(stats: Stats) -> Section:
    standing, new = stats["quarantine"], stats["quarantine_new"]
    reasons = charts.rank_reasons(standing)
    if not reasons:
        return Section("Trouble", ["None: nothing stands in quarantine."])
    sentences = ["`eshop replay-quarantine CONFIG` tries these rows again; the quarantine table names each."]
    if stats.get("num_superseded"):
        sentences.append(f"{count(stats['num_superseded'], 'older row')} of products that come again was left aside.")
    if stats["num_unreadable"]:
        sentences.append(f"{count(stats['num_unreadable'], 'input row')} could not be read.")
    rows = [(reason, _number(standing[reason]), _number(new.get(reason, 0))) for reason in reasons]
    chart = Chart(partial(charts.draw_quarantine, standing, new), "Rows in quarantine, by reason")
    return Section("Trouble", sentences, [Table(("reason", "in quarantine", "new in this run"), rows)], [chart])


def _describe_cost(stats: Stats) -> Section:
    histograms = {name: Histogram.from_dict(stats["histograms"][name]) for name in LENGTHS}
    pictures = [Chart(partial(charts.draw_throughput, stats["throughput"]), "Throughput over time")]
    pictures += [
        Chart(partial(charts.draw_histogram, histograms[name], unit, color), unit.capitalize())
        for name, (unit, color) in LENGTHS.items()
    ]
    sentences = [*_word_speed(stats), *_word_cost(stats)]
    return Section("Cost and speed", sentences, [_tabulate_phases(stats), *_tabulate_lengths(histograms)], pictures)


def _word_speed(stats: Stats) -> Iterator[str]:
    seconds, num_rows = stats["phases"].get("infer", 0.0), stats["num_inferred"]
    if num_rows and seconds:
        yield (
            f"The model answered {count(num_rows, 'question')} in {format_seconds(seconds)}: {num_rows / seconds:,.1f} "
            f"a second, {stats['num_generated_tokens'] / seconds:,.0f} generated tokens a second, start of the engine "
            "included."
        )


def _word_cost(stats: Stats) -> Iterator[str]:
    price, num_engines, num_rows = stats["gpu_hour_price"], stats["num_engines"], stats["num_inferred"]
    if price is None:
        return
    cost = price * num_engines * stats["seconds"] / 3600
    each = f"; {1000 * cost / num_rows:,.2f} per 1,000 answers" if num_rows else ""
    used = f"{count(num_engines, 'engine')} over {format_seconds(stats['seconds'])}"
    yield f"Cost: {cost:,.2f} for {used}, at {price:,.2f} an engine hour{each}."


def _tabulate_phases(stats: Stats) -> Table:
    rows = [(name, format_seconds(seconds)) for name, seconds in stats["phases"].items()]
    return Table(("phase", "time"), rows)


def _tabulate_lengths(histograms: Mapping[str, Histogram]) -> Iterator[Table]:
    rows = [
        (LENGTHS[name][0], _number(values.num_values), *(_number(values.get_bound(share)) for share in (0.5, 0.95, 1)))
        for name, values in histograms.items()
        if values.num_values
    ]
    if rows:
        yield Table(("lengths", "rows", "half are below", "95% are below", "all are below"), rows)


def _describe_run(stats: Stats) -> Section:
    facts = {
        "run": stats["run_id"],
        "started": _when(stats),
        "engine": f"{stats['engine']} x {stats['num_engines']}",
        "model": shorten_digest(stats["model_digest"]),
        "table": f"{stats['table_uri'].partition('?')[0]}, version {stats['table_version']:,}",
        "written": f"{count(stats['num_files'], 'file')} in {count(stats['num_commits'], 'commit')}",
    }
    return Section("This run", (), [Table(("", ""), list(facts.items()), num_text=2)])


def _title(stats: Stats) -> str:
    return f"Enrichment of {stats['name']}, {_when(stats)}"


def _when(stats: Stats) -> str:
    return f"{datetime.fromisoformat(stats['started_at']):%Y-%m-%d %H:%M %Z}".strip()


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
