"""A comparison of two runs as a person reads it: a table, slices, and the rows that changed sides, to page through."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from eshop_ray.evaluation.comparison.runs import Content
from eshop_ray.evaluation.significance import SIGNIFICANT, note_few_rows, write_num_rows, write_p_value
from eshop_ray.evaluation.text_tables import show_text_errors
from eshop_ray.reporting.page import Level, Page, Section, Table, clean_text, code
from eshop_ray.reporting.render import write_page
from eshop_ray.reporting.terminal import print_table
from eshop_ray.schema import Row

MAX_FLIPS = 500
"""Rows of a group that the page shows; `flips.jsonl` has all."""
ROWS_PER_SECTION = 50

_HEADER = ("group", "metric", "rows", "first", "second", "difference", "better", "worse", "p", "could show")
_SLICE_HEADER = ("group", "by", "part", "rows", "first", "second", "difference", "p")
_FLIP_HEADER = ("id", "question", "target", "first", "second", "score")


def tabulate(comparison: Content) -> Table:
    """Return one row for each group."""
    rows = []
    for name, group in comparison["groups"].items():
        test = group["test"]
        scores = (f"{group['first']:.3f}", f"{group['second']:.3f}", _write_difference(test))
        sides = (f"{test['num_better']:,}", f"{test['num_worse']:,}")
        detectable = f"{test['detectable']:.3f}" if test["detectable"] else "-"
        told = (*scores, *sides, write_p_value(test["p_adjusted"]), detectable)
        rows.append((name, group["metric"], write_num_rows(group["num_rows"]), *told))
    return Table(_HEADER, rows, num_text=2)


def print_comparison(comparison: Content) -> None:
    """Print the groups and the verdict."""
    print_table(tabulate(comparison), word_verdict(comparison))


def word_verdict(comparison: Content) -> str:
    """Say in one sentence where the second run is better or worse than the first."""
    better, worse = _list_clear(comparison, 1), _list_clear(comparison, -1)
    if not better and not worse:
        return "No group differs by more than chance explains."
    told = [f"{word} on {', '.join(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    return f"The second run is {' and '.join(told)}."


def write_report(comparison: Content, flips: Iterable[Row], folder: Path) -> Path:
    """Write `comparison.html`, `comparison.md` and `flips.jsonl` into a folder, and return the first.

    Args:
        comparison: From `compare_runs`.
        flips: Rows that `compare_runs` kept, by group.
        folder: Of the files; it is there.
    """
    sections: list[Section] = []
    with (folder / "flips.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as stream:
        names = {(group["group"], group["metric"]): name for name, group in comparison["groups"].items()}
        for key, rows in itertools.groupby(flips, key=lambda row: (row["group"], row["metric"])):
            shown: list[Row] = []
            num_rows = 0
            for row in rows:
                num_rows += 1
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                if len(shown) < MAX_FLIPS:
                    shown.append(row)
            sections += _show_flips(names[key], shown, num_rows)
    level: Level = "attention" if _list_clear(comparison, -1) else "well"
    sections = [*_show_scores(comparison), *_show_texts(comparison), *sections]
    page = Page("Two runs, row by row", level, word_verdict(comparison), sections)
    return write_page(page, folder, "comparison")


def _show_scores(comparison: Content) -> Iterator[Section]:
    sentences = [
        f"First: {code(comparison['first'])}. Second: {code(comparison['second'])}.",
        f"In brackets the {comparison['level']:.0%} interval of the difference (paired bootstrap); p by a test paired "
        "by row, corrected for all groups; four out of five such samples would show a difference as large as the last "
        "column says.",
    ]
    groups = comparison["groups"]
    sentences += note_few_rows(group["num_rows"] for group in groups.values())
    yield Section("Scores", sentences, [tabulate(comparison)])
    rows = [
        (
            name,
            part["by"],
            part["name"],
            write_num_rows(part["test"]["num_rows"]),
            f"{part['first']:.3f}",
            f"{part['second']:.3f}",
            _write_difference(part["test"]),
            write_p_value(part["test"]["p_adjusted"]),
        )
        for name, group in groups.items()
        for part in group["slices"]
    ]
    if rows:
        yield Section("Slices", ["p is corrected for all slices."], [Table(_SLICE_HEADER, rows, num_text=3)])


def _show_texts(comparison: Content) -> list[Section]:
    texts = [
        ((name, run), errors)
        for name, group in comparison["groups"].items()
        for run, errors in group.get("text_errors", {}).items()
    ]
    return [show_text_errors(texts, ("group", "run"))] if texts else []


def _show_flips(group: str, shown: list[Row], num_rows: int) -> Iterator[Section]:
    for start in range(0, len(shown), ROWS_PER_SECTION):
        part = shown[start : start + ROWS_PER_SECTION]
        title = f"Changed: {clean_text(group)}, rows {start + 1} to {start + len(part)} of {num_rows:,}"
        left = num_rows - len(shown)
        is_last = start + len(part) == len(shown)
        note = [f"{left:,} more stand in `flips.jsonl`."] if left and is_last else []
        rows = [
            (
                row["id"],
                row["question"],
                str(row["target"]),
                str(row["first"]),
                str(row["second"]),
                f"{row['first_score']:.2f} to {row['second_score']:.2f}",
            )
            for row in part
        ]
        yield Section(title, note, [Table(_FLIP_HEADER, rows, num_text=5)])


def _write_difference(test: Row) -> str:
    return f"{test['difference']:+.3f} ({test['low']:+.3f} to {test['high']:+.3f})"


def _list_clear(comparison: Content, sign: int) -> list[str]:
    return [
        code(name)
        for name, group in comparison["groups"].items()
        if group["test"]["difference"] * sign > 0 and group["test"]["p_adjusted"] < SIGNIFICANT
    ]
