"""Scores as a person reads them: one table on the terminal, the same in `report.md`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eshop_ray.evaluation.evaluate import read_groups
from eshop_ray.schema import decode

Metrics = Mapping[str, Any]
"""The content of a `metrics.json`."""

NUM_EXAMPLES = 3
"""Answers shown per group."""
MAX_TEXT = 300
"""Characters of an answer shown."""

HEADER = ("group", "metric", "rows", "base", "tuned", "difference", "failed", "unparsed")


def build_rows(tuned: Metrics, base: Metrics | None) -> list[tuple[str, ...]]:
    """Return one row of text per group, columns as in `HEADER`, and the mean over groups last."""
    rows = []
    for name, group in tuned["groups"].items():
        before = base["groups"].get(name, {}).get("score") if base else None
        counts = (str(group["num_errors"]), str(group["num_unparsed"]))
        rows.append((name, group["metric"], str(group["num_rows"]), *_compare(before, group["score"]), *counts))
    mean = _compare(base["score"] if base else None, tuned["score"])
    return [*rows, ("mean", "", str(sum(group["num_rows"] for group in tuned["groups"].values())), *mean, "", "")]


def print_table(rows: Sequence[Sequence[str]], title: str) -> None:
    """Print the comparison."""
    table = Table(*HEADER, title=title)
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == "mean" else None)
    Console(width=None if Console().is_terminal else 110).print(table)


def render_report(name: str, rows: Sequence[Sequence[str]], tuned: Metrics, predictions_dir: Path) -> str:
    """Return `report.md`: the comparison, then answers to look at before believing it."""
    lines = [f"# {name}", "", f"Split `{tuned['split']}`, engine `{tuned['engine']}`.", ""]
    lines += [_line(HEADER), _line(["---"] * len(HEADER)), *(_line(row) for row in rows), "", "## Answers", ""]
    for group, members in read_groups(predictions_dir):
        lines += [f"### {group}", "", _line(("id", "target", "prediction", "error")), _line(["---"] * 4)]
        lines += [*(_line(_show(row)) for row in members[:NUM_EXAMPLES]), ""]
    return "\n".join(lines)


def _compare(before: float | None, after: float) -> Iterator[str]:
    yield "" if before is None else f"{before:.3f}"
    yield f"{after:.3f}"
    yield "" if before is None else f"{after - before:+.3f}"


def _show(row: Mapping[str, Any]) -> Iterator[str]:
    yield row["id"]
    for value in (decode(row["target"]), decode(row["prediction"]), row["error"] or ""):
        text = str(value)
        yield text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " ..."


def _line(cells: Iterable[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"
