"""Predictions -> scores: rows -> groups -> the run's score."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.dataset
import pyarrow.parquet

from eshop_ray.artifacts import Manifest
from eshop_ray.errors import UserError
from eshop_ray.schema import PREDICTION_SCHEMA, Row, decode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.metrics import get_metric

COLUMNS = ("id", "task", "group", "metric", "target", "prediction", "error", "finish_reason")


def evaluate_predictions(predictions_dir: Path, manifest: Manifest) -> dict[str, Any]:
    """Score the predictions of one model.

    Returns:
        The content of `metrics.json`: `model`, `engine`, `split`, `score` (the mean over the groups) and `groups`.

    Raises:
        UserError: if there are no predictions, a metric is unknown, or its library is missing.
    """
    groups = {name: score_group(rows) for name, rows in read_groups(predictions_dir)}
    if not groups:
        raise UserError(f"{predictions_dir} holds no predictions; run `eshop batch-infer` again")
    return {
        "model": manifest.details["model_dir"],
        "engine": manifest.details["engine"],
        "split": manifest.details["split"],
        "score": fmean(group["score"] for group in groups.values()),
        "groups": groups,
    }


def check_complete(predictions_dir: Path, expected: Iterable[tuple[str, str]]) -> None:
    """See that every record was answered once: a score of a part would pass for one of all.

    Args:
        predictions_dir: The answers.
        expected: Task and id of the records that were to be answered.

    Raises:
        UserError: naming what is missing, or what was answered that was not asked.
    """
    wanted = Counter(expected)
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(predictions_dir.glob("*.parquet")):
        table = pyarrow.parquet.read_table(path, columns=["task", "id"])
        found.update(zip(table["task"].to_pylist(), table["id"].to_pylist(), strict=True))
    for kind, rows in (("lacks", wanted - found), ("has, and should not have,", found - wanted)):
        if rows:
            shown = ", ".join(f"{task}/{row_id}" for task, row_id in sorted(rows, key=str)[:3])
            raise UserError(
                f"{predictions_dir} {kind} {rows.total()} of {wanted.total()} rows, such as {shown}; remove the folder "
                "and run `eshop batch-infer` again"
            )


def read_groups(predictions_dir: Path) -> Iterator[tuple[str, list[Row]]]:
    """Yield each group's rows, sorted by id; one group is in memory at a time."""
    paths = sorted(str(path) for path in predictions_dir.glob("*.parquet"))
    dataset = pyarrow.dataset.dataset(paths, format="parquet", schema=PREDICTION_SCHEMA)
    names = sorted(set(dataset.to_table(columns=["group"])["group"].to_pylist()))
    for name in names:
        table = dataset.to_table(columns=list(COLUMNS), filter=pyarrow.dataset.field("group") == name)
        yield name, sorted(table.to_pylist(), key=lambda row: row["id"])


def score_group(rows: Sequence[Row]) -> dict[str, Any]:
    """Score the rows of one group, which share a metric; failed rows count as wrong.

    Raises:
        UserError: if rows of the group name different metrics: their mean would mean nothing.
    """
    metrics = sorted({row["metric"] for row in rows})
    if len(metrics) > 1:
        raise UserError(f"group `{rows[0]['group']}` mixes the metrics {', '.join(metrics)}; give each its own group")
    task = get_task(rows[0]["task"])
    targets = [decode(row["target"]) for row in rows]
    predictions = [decode(row["prediction"]) for row in rows]
    return {
        "metric": metrics[0],
        "score": get_metric(metrics[0]).aggregate(targets, predictions),
        "num_rows": len(rows),
        "num_errors": sum(row["error"] is not None for row in rows),
        "num_unparsed": sum(prediction == task.unparsed for prediction in predictions),
        "task_version": task.version,
    }
