"""What a run answered, by group: scores row by row, and what the answers took."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.splits import list_ids
from eshop_ray.errors import UserError
from eshop_ray.evaluation.evaluate import (
    NO_CLUSTERS,
    Clusters,
    count_rows,
    name_clusters,
    read_groups,
)
from eshop_ray.evaluation.matrix.plan import Run
from eshop_ray.evaluation.matrix.units import Unit
from eshop_ray.evaluation.same_rows import check_complete
from eshop_ray.schema import PREDICTION_SCHEMA, Row
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.bootstrap import add_up_clusters, interval
from eshop_ray.tasks.metrics.metric import Numbers

_COSTS = ("task", "group", "engine_seconds", "switch_seconds", "num_input_tokens", "num_generated_tokens")


@dataclass(frozen=True, eq=False)
class Answers:
    """A run's answers to one group, rows sorted by id."""

    run: Run
    unit: Unit
    metric: str
    ids: Sequence[str]
    targets: Sequence[str]
    counts: Numbers
    """What each row adds to the group's sums, (n, k)."""
    clusters: Sequence[str] | None
    """What each row belongs to; None: each to itself."""
    num_errors: int
    """Rows without an answer: they count as wrong."""
    rows_per_second: float | None
    """While the engine was up; None where its time was not measured."""
    tokens_per_row: float
    """Of prompt and answer."""
    switch_seconds: float | None = None
    """Mean of the exchanges of weights before its rows; None where there were none."""

    @property
    def score(self) -> float:
        """The group's."""
        return float(get_metric(self.metric).combine(self.counts.sum(0)))

    def find_interval(self, seed: int) -> tuple[float, float]:
        """Return where 95 % of the scores lie when clusters are drawn again."""
        counts = add_up_clusters(self.counts, self.clusters) if self.clusters else self.counts
        return interval(self.metric, counts, seed)


def read_answers(config: Config, run: Run, clusters: Clusters = NO_CLUSTERS) -> Iterator[Answers]:
    """Yield what a run answered, one group after the other.

    Args:
        config: The run's own.
        run: Which.
        clusters: What rows belong to.

    Raises:
        UserError: if it has not answered exactly the records of its groups.
    """
    folder = config.predictions_dir(run.answers_as)
    artifacts.read_complete(folder, job="batch_infer")
    data, split = config.data, config.evaluate.split
    check_complete(folder, list_ids(config.records_dir, split, data.tasks, config.infer.max_rows, data.groups))
    units = {(unit.task, unit.group): unit for unit in run.units}
    seen: dict[Unit, str] = {}
    for _, rows in read_groups(folder):
        unit = units[rows[0]["task"], rows[0]["group"]]
        if unit in seen:
            raise UserError(
                f"group `{unit.name}` mixes the metrics {seen[unit]}, {rows[0]['metric']}: it has no one score; leave "
                "it out of `data.groups`, or give each a group of its own"
            )
        seen[unit] = rows[0]["metric"]
        yield _add_up(run, unit, rows, folder, clusters)


def _add_up(run: Run, unit: Unit, rows: Sequence[Row], folder: Path, clusters: Clusters) -> Answers:
    seconds, tokens, switch_seconds = _measure(folder, unit)
    return Answers(
        run=run,
        unit=unit,
        metric=rows[0]["metric"],
        ids=[row["id"] for row in rows],
        targets=[row["target"] for row in rows],
        counts=count_rows(rows),
        clusters=name_clusters(rows, clusters),
        num_errors=sum(row["error"] is not None for row in rows),
        rows_per_second=len(rows) / seconds if seconds else None,
        tokens_per_row=tokens / len(rows),
        switch_seconds=switch_seconds,
    )


def _measure(folder: Path, unit: Unit) -> tuple[float | None, int, float | None]:
    """Return what a group's answers took: seconds of engines, tokens, seconds of an exchange of weights.

    No seconds of engines where some were not measured.

    Engines answer groups beside each other: a group's part of the whole time is its part of the tokens.
    """
    paths = sorted(map(str, folder.glob("*.parquet")))
    table = pyarrow.dataset.dataset(paths, format="parquet", schema=PREDICTION_SCHEMA).to_table(columns=list(_COSTS))
    tokens = sum(table[name].fill_null(0).to_numpy() for name in ("num_input_tokens", "num_generated_tokens"))
    tasks, groups = (np.array(table[name].to_pylist()) for name in ("task", "group"))
    is_own = (tasks == unit.task) & (groups == unit.group)
    own = int(tokens[is_own].sum())
    mean = pc.mean(table["switch_seconds"].filter(pa.array(is_own))).as_py()
    if table["engine_seconds"].null_count or not tokens.sum():
        return None, own, mean
    return float(table["engine_seconds"].to_numpy().sum()) * own / int(tokens.sum()), own, mean
