"""Predictions -> scores: rows -> groups -> the run's score."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import and_
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import pyarrow.dataset

from eshop_ray.artifacts import Manifest
from eshop_ray.errors import UserError
from eshop_ray.evaluation.significance import add_adjusted, compare_pairs
from eshop_ray.evaluation.tally import KEYS, Tally, digest_id, find_groups
from eshop_ray.schema import PREDICTION_SCHEMA, Row, decode
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.metric import Numbers

Clusters = Mapping[tuple[str, str], str]
"""Task and id of a row -> what it belongs to, such as a query or product."""
NO_CLUSTERS: Clusters = MappingProxyType({})

COLUMNS = ("id", "task", "group", "metric", "target", "prediction", "error", "finish_reason")


def evaluate_predictions(tallies: Mapping[str, Tally], manifest: Manifest) -> dict[str, Any]:
    """Score the predictions of one model.

    Args:
        tallies: What `tally_groups` returned of them, by group.
        manifest: Of the predictions.

    Returns:
        The content of `metrics.json`: `model`, `engine`, `split`, `pretrained` (false for one that began with random
        weights), `score` (the mean over the groups) and `groups`; of answers to prompts with examples `few_shot`, of an
        endpoint's `spending`.

    Raises:
        UserError: if there are no predictions.
    """
    groups = {name: tally.describe() for name, tally in tallies.items()}
    if not groups:
        raise UserError("there are no predictions; run `eshop batch-infer` again")
    return {
        "model": manifest.details["model_dir"],
        "engine": manifest.details["engine"],
        "split": manifest.details["split"],
        "pretrained": manifest.details.get("pretrained", True),
        **{name: manifest.details[name] for name in ("few_shot", "spending") if name in manifest.details},
        "score": fmean(group["score"] for group in groups.values()),
        "groups": groups,
    }


def read_groups(predictions_dir: Path, columns: Sequence[str] = COLUMNS) -> Iterator[tuple[str, list[Row]]]:
    """Yield the parts of groups that share a metric, by name (`find_groups`), with their rows, sorted by id; one is in
    memory at a time.
    """
    paths = sorted(str(path) for path in predictions_dir.glob("*.parquet"))
    dataset = pyarrow.dataset.dataset(paths, format="parquet", schema=PREDICTION_SCHEMA)
    field = pyarrow.dataset.field
    for key, name in sorted(find_groups(predictions_dir).items(), key=lambda pair: pair[1].part):
        is_own = reduce(and_, (field(column) == value for column, value in zip(KEYS, key, strict=True)))
        table = dataset.to_table(columns=list(columns), filter=is_own)
        yield name.part, sorted(table.to_pylist(), key=lambda row: row["id"])


def compare_with_base(
    metrics: dict[str, Any],
    tallies: Mapping[str, Tally],
    base: Mapping[str, Tally],
    seed: int,
    clusters: Clusters = NO_CLUSTERS,
) -> None:
    """Test each group of a model against the base's answers to the same rows.

    Each group gets the fields of `PairedTest` as `against_base`, and its p-value as corrected for all groups,
    `p_adjusted`.

    Args:
        metrics: What `evaluate_predictions` returned of the model.
        tallies: The model's answers, by group.
        base: The base's, to the same rows (`check_same_rows`).
        seed: Of draws.
        clusters: What rows belong to.
    """
    names = {(task, digest_id(row_id)): name for (task, row_id), name in clusters.items()}
    for group, tally in tallies.items():
        ids, own, others = tally.pair(base[group])
        owners = [names.get((tally.task, row_id), row_id) for row_id in ids.tolist()] if names else None
        metrics["groups"][group]["against_base"] = asdict(compare_pairs(tally.metric, own, others, seed, owners))
    add_adjusted([group["against_base"] for group in metrics["groups"].values()])


def name_clusters(rows: Sequence[Row], clusters: Clusters) -> list[str] | None:
    """Return what each row of a group belongs to; None where each stands by itself."""
    names = [clusters.get((row["task"], row["id"])) for row in rows]
    return (
        [f"row {row['id']}" if name is None else name for row, name in zip(rows, names, strict=True)]
        if any(name is not None for name in names)
        else None
    )


def count_rows(rows: Sequence[Row]) -> Numbers:
    """Return the counts of a model's answers to the rows of a group, (n, k), as their metric has them."""
    targets, predictions = ([decode(row[name]) for row in rows] for name in ("target", "prediction"))
    return get_metric(rows[0]["metric"]).count_rows(targets, predictions)


def score_group(rows: Sequence[Row]) -> dict[str, Any]:
    """Score the rows of one group, which share a metric; failed rows count as wrong.

    Raises:
        UserError: if rows of the group name different metrics: their mean would mean nothing.
    """
    return Tally.of(rows).describe()
