"""What a group's answers add up to: of each row counts and a digest, so that millions of rows fit into memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eshop_ray.errors import UserError
from eshop_ray.evaluation.entity_errors import EntityErrors
from eshop_ray.evaluation.text_errors import TEXT_METRICS, TextErrors
from eshop_ray.schema import PREDICTION_SCHEMA, Row, decode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.entities import ENTITY_F1
from eshop_ray.tasks.metrics.metric import Numbers

ANSWER_COLUMNS = ("prediction", "error")
COLUMNS = ("id", "task", "group", "metric", "target", *ANSWER_COLUMNS)
TEXT_COLUMNS = ("messages", "finish_reason")
"""What is looked at too where answers are texts."""
KEYS = ("task", "group", "metric")
"""What rows that are scored together share."""
BATCH_ROWS = 20_000

Digests = NDArray[np.uint64]


@dataclass(slots=True)
class Tally:
    """A group's rows, which share task and metric, as they come."""

    group: str
    task: str
    metric: str
    num_errors: int = 0
    num_unparsed: int = 0
    entity_errors: EntityErrors | None = None
    text_errors: TextErrors | None = None
    """Of written answers, where their prompts are known."""
    _ids: list[Digests] = field(default_factory=list)
    _counts: list[Numbers] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Tally":
        """Return the tally of a group's rows.

        Raises:
            UserError: if rows of the group name different metrics: their mean would mean nothing.
        """
        tally = cls.begin(rows[0])
        tally.add({name: [row.get(name) for row in rows] for name in COLUMNS})
        return tally

    @classmethod
    def begin(cls, row: Mapping[str, Any]) -> "Tally":
        """Return the empty tally of the group that a row belongs to."""
        errors = EntityErrors() if row["metric"] == ENTITY_F1.name else None
        texts = TextErrors(row["metric"]) if row["metric"] in TEXT_METRICS and "messages" in row else None
        return cls(row["group"], row["task"], row["metric"], entity_errors=errors, text_errors=texts)

    def add(self, columns: Mapping[str, Sequence[Any]]) -> Numbers:
        """Add rows of the group, and return what each adds to its sums, (n, k).

        Args:
            columns: `COLUMNS`, and for `text_errors` `TEXT_COLUMNS` too.

        Raises:
            UserError: if they name another metric, or one that cannot score their targets.
        """
        metrics = sorted({self.metric, *columns["metric"]})
        if len(metrics) > 1:
            raise UserError(f"group `{self.group}` mixes the metrics {', '.join(metrics)}; give each its own group")
        targets, predictions = (list(map(decode, columns[name])) for name in ("target", "prediction"))
        unparsed = get_task(self.task).unparsed
        self.num_errors += sum(error is not None for error in columns["error"])
        self.num_unparsed += sum(prediction == unparsed for prediction in predictions)
        self._ids.append(_digest(columns["id"]))
        try:
            counts = get_metric(self.metric).count_rows(targets, predictions)
        except UNSCORABLE as error:
            raise UserError(self._name_unscorable(columns["id"], targets, predictions)) from error
        self._counts.append(counts)
        if self.entity_errors:
            self.entity_errors.add(targets, predictions)
        if self.text_errors:
            self.text_errors.add(columns, targets, predictions, get_metric(self.metric).combine(counts).tolist())
        return counts

    def _name_unscorable(self, ids: Sequence[str], targets: Sequence[Any], predictions: Sequence[Any]) -> str:
        found = []
        for row_id, target, prediction in zip(ids, targets, predictions, strict=True):
            try:
                get_metric(self.metric).count_rows([target], [prediction])
            except UNSCORABLE as error:
                found.append((row_id, type(error).__name__))
        shown = ", ".join(f"{row_id} ({kind})" for row_id, kind in found[:3])
        return (
            f"group `{self.group}`: the metric `{self.metric}` cannot score {len(found)} of {len(ids)} rows: {shown}. "
            "Their targets are of another form than the metric's; mend the records, or their `metric`, and run `eshop "
            "prepare-data` again"
        )

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return sum(map(len, self._counts))

    @property
    def counts(self) -> Numbers:
        """What each row adds to the group's sums, (n, k), in the order in which rows came."""
        return np.concatenate(self._counts)

    def describe(self) -> dict[str, Any]:
        """Return the group as `metrics.json` has it; failed rows count as wrong."""
        sums = np.array([fsum(column) for column in self.counts.T])
        return {
            "metric": self.metric,
            "score": float(get_metric(self.metric).combine(sums)),
            "num_rows": self.num_rows,
            "num_errors": self.num_errors,
            "num_unparsed": self.num_unparsed,
            "task_version": get_task(self.task).version,
            **({"entity_errors": self.entity_errors.describe()} if self.entity_errors else {}),
            **({"text_errors": self.text_errors.describe()} if self.text_errors else {}),
        }

    def pair(self, other: "Tally") -> tuple[Digests, Numbers, Numbers]:
        """Return digests of ids, sorted, and the counts of both models' answers to these rows.

        Args:
            other: Of the same rows: see `eshop_ray.evaluation.same_rows`.
        """
        return (*self._sort(), other._sort()[1])

    def _sort(self) -> tuple[Digests, Numbers]:
        ids = np.concatenate(self._ids)
        order = np.argsort(ids, kind="stable")
        return ids[order], self.counts[order]


UNSCORABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What metrics raise for targets that are not theirs."""


class GroupName(NamedTuple):
    """What rows that share task, group and metric are called."""

    whole: str
    """The group, or TASK/GROUP where several tasks have one of its name, such as files of one name in two folders."""
    part: str
    """The same, or WHOLE (METRIC) where rows of the group name several metrics."""


def find_groups(predictions_dir: Path) -> dict[tuple[str, str, str], GroupName]:
    """Return task, group and metric of predictions -> what they are called."""
    paths = sorted(map(str, predictions_dir.glob("*.parquet")))
    dataset = pyarrow.dataset.dataset(paths, format="parquet", schema=PREDICTION_SCHEMA)
    found = dataset.to_table(columns=list(KEYS)).group_by(list(KEYS)).aggregate([])
    keys = sorted(zip(*(found[name].to_pylist() for name in KEYS), strict=True))
    num_tasks = Counter(group for _, group in {(task, group) for task, group, _ in keys})
    num_metrics = Counter((task, group) for task, group, _ in keys)
    names = {}
    for task, group, metric in keys:
        whole = f"{task}/{group}" if num_tasks[group] > 1 else group
        part = f"{whole} ({metric})" if num_metrics[task, group] > 1 else whole
        names[task, group, metric] = GroupName(whole, part)
    return names


def tally_groups(predictions_dir: Path) -> dict[str, Tally]:
    """Return the part of a group that shares a metric, as `find_groups` calls it, -> tally, sorted by name.

    A batch of rows is in memory at a time.

    Raises:
        UserError: as of `Tally`.
    """
    tallies: dict[str, Tally] = {}
    called = find_groups(predictions_dir)
    for path in sorted(predictions_dir.glob("*.parquet")):
        file = pq.ParquetFile(path)
        metrics = set(file.read(columns=["metric"])["metric"].unique().to_pylist())
        wanted = [*COLUMNS, *(TEXT_COLUMNS if metrics & TEXT_METRICS else ())]
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            for key, columns in _divide(batch):
                name = called[key].part
                if name not in tallies:
                    tallies[name] = Tally.begin({**{key: values[0] for key, values in columns.items()}, "group": name})
                tallies[name].add(columns)
    return dict(sorted(tallies.items()))


def _divide(batch: pa.RecordBatch) -> Iterator[tuple[tuple[str, str, str], dict[str, list[Any]]]]:
    """Yield task, group and metric of each part of a batch with its columns."""
    for group, task, metric, rows in _split(batch, ("group", "task", "metric")):
        kept = (key for key in batch.schema.names if metric in TEXT_METRICS or key not in TEXT_COLUMNS)
        yield (task, group, metric), {key: rows[key].to_pylist() for key in kept}


def _split(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield each combination of values in some columns, and the rows that have it."""
    if not columns:
        yield (batch,)
        return
    column, *others = columns
    for value in pc.unique(batch[column]).to_pylist():
        for rest in _split(batch.filter(pc.equal(batch[column], value)), others):
            yield (value, *rest)


def digest_id(row_id: str) -> int:
    """Return the digest by which a tally knows a row."""
    return int.from_bytes(blake2b(row_id.encode(), digest_size=8).digest(), "little")


def _digest(texts: Sequence[str]) -> Digests:
    return np.fromiter(map(digest_id, texts), np.uint64, len(texts))
