"""Predictions -> scores: rows -> groups -> the run's score."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.dataset

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
