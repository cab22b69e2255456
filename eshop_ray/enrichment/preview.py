"""A few rows of the enriched table, for a person to look at."""

from collections import Counter
from typing import Any

from eshop_ray.enrichment.questions import ENRICHED
from eshop_ray.enrichment.table import Table
from eshop_ray.reporting.page import Table as TextTable
from eshop_ray.reporting.terminal import print_table
from eshop_ray.secrets import hide_in_text

_COLUMNS = ("product_id", "task", "status", "text", "entities", "num_generated_tokens")


def print_rows(table: Table, num_rows: int, tasks: tuple[str, ...]) -> None:
    """Print enriched rows, as many of each task."""
    rows = [
        (row["product_id"], row["task"], write_prediction(row), str(row["num_generated_tokens"]))
        for row in pick_rows(table, num_rows, tasks)
    ]
    header = ("product_id", "task", "prediction", "generated tokens")
    print_table(TextTable(header, rows, num_text=3), f"{hide_in_text(table.uri)}: {num_rows} of its rows")


def pick_rows(table: Table, num_rows: int, tasks: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the first enriched rows of each task, sorted by task; reads no further than it must."""
    most = -(-num_rows // len(tasks))
    found: Counter[str] = Counter()
    picked = []
    for file in table.snapshot().files:
        if found[str(file.task)] == most:
            continue
        for row in table.read_file(file, _COLUMNS).to_pylist():
            if row["status"] == ENRICHED and row["task"] in tasks and found[row["task"]] < most:
                found[row["task"]] += 1
                picked.append(row)
        if all(found[task] == most for task in tasks):
            break
    return sorted(picked, key=lambda row: str(row["task"]))[:num_rows]


def write_prediction(row: dict[str, Any]) -> str:
    """Return the typed prediction of a row as one line."""
    if row["entities"] is not None:
        return ", ".join(f"{entity['text']} = {entity['type']}" for entity in row["entities"])
    return row["text"] or ""
