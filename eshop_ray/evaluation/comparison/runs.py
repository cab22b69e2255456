"""Two runs' answers to the same rows, read once: scores, tests, slices, and the rows whose score changed."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eshop_ray.config import load_config
from eshop_ray.data.prompts import find_question
from eshop_ray.data.splits import take_field
from eshop_ray.errors import UserError
from eshop_ray.evaluation.comparison.flips import FlipStore
from eshop_ray.evaluation.comparison.pairs import Columns, read_pairs
from eshop_ray.evaluation.comparison.slices import SliceBook, find_key
from eshop_ray.evaluation.same_rows import check_same_rows
from eshop_ray.evaluation.significance import EQUAL, add_adjusted, compare_pairs
from eshop_ray.evaluation.tally import ANSWER_COLUMNS, Tally, find_groups
from eshop_ray.places import local_path, place_of
from eshop_ray.schema import decode
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.bootstrap import LEVEL
from eshop_ray.tasks.metrics.metric import Numbers

logger = logging.getLogger(__name__)

Content = dict[str, Any]
"""The content of a `comparison.json`."""


@dataclass(frozen=True, slots=True)
class Records:
    """What two runs were asked."""

    files: Sequence[str] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """Task or group -> field by which its rows are divided."""
    clusters: Mapping[str, str] = field(default_factory=dict)
    """Task or group -> field that names what its rows belong to."""


@dataclass(slots=True)
class Contest:
    """Both runs' answers to the rows of a group that share a metric, as they come."""

    number: int
    """Of the group, in the order of the report."""
    first: Tally
    second: Tally
    slices: SliceBook
    fields: Mapping[str, str]
    """Task or group -> field that names what its rows belong to."""
    _owners: list[str] = field(default_factory=list)
    """Of each row what it belongs to, where that is known."""

    def add(self, columns: Columns, flips: FlipStore) -> None:
        """Add rows, columns of `read_pairs`, and keep those whose score changed."""
        own = {name: columns[f"first_{name}"] for name in (*ANSWER_COLUMNS, "finish_reason")}
        before = self.first.add({**columns, **own})
        after = self.second.add(columns)
        self.slices.add(columns)
        self._owners += self._find_owners(columns)
        sides = {"first": columns["first_prediction"], "second": columns["prediction"]}
        scores = [
            self._score(columns["target"], answers, counts)
            for answers, counts in zip(sides.values(), (before, after), strict=True)
        ]
        for place, (old, new) in enumerate(zip(*scores, strict=True)):
            if abs(new - old) > EQUAL:
                row = {
                    "group": self.first.group,
                    "metric": self.first.metric,
                    "id": columns["id"][place],
                    "question": find_question(columns["messages"][place]),
                    "target": decode(columns["target"][place]),
                    **{side: decode(answers[place]) for side, answers in sides.items()},
                    "first_score": old,
                    "second_score": new,
                }
                flips.add(self.number, new - old, row)

    def _find_owners(self, columns: Columns) -> Iterator[str]:
        key = find_key(self.fields, columns["task"][0], columns["group"][0])
        if key is None:
            return
        for row_id, text in zip(columns["id"], columns["fields"], strict=True):
            record, setting = decode(text), f"evaluate.clusters.{key}"
            yield take_field(record, self.fields[key], row_id, setting) if record is not None else f"row {row_id}"

    def _score(self, targets: Sequence[str], answers: Sequence[str | None], counts: Numbers) -> list[float]:
        """Return the rows' scores; where a group's is their mean, its counts have them."""
        metric = get_metric(self.first.metric)
        if metric.is_mean:
            scores: list[float] = metric.combine(counts).tolist()
            return scores
        return metric.score_rows(list(map(decode, targets)), list(map(decode, answers)))

    def describe(self, seed: int, level: float) -> Content:
        """Return the group as `comparison.json` has it."""
        metric, first, second = self.first.metric, self.first.counts, self.second.counts
        owners = np.array(self._owners) if self._owners else None
        slices = []
        for (way, part), places in self.slices.close().items():
            own = None if owners is None else owners[places].tolist()
            test = compare_pairs(metric, second[places], first[places], seed, own, level)
            sides = {"first": first, "second": second}
            scores = {side: float(get_metric(metric).combine(counts[places].sum(0))) for side, counts in sides.items()}
            slices.append({"by": way, "name": part, **scores, "test": asdict(test)})
        described = {"first": self.first.describe(), "second": self.second.describe()}
        texts = {side: one["text_errors"] for side, one in described.items() if "text_errors" in one}
        return {
            "group": self.first.group,
            "task": self.first.task,
            "metric": metric,
            "num_rows": self.first.num_rows,
            **{side: one["score"] for side, one in described.items()},
            **({"text_errors": texts} if texts else {}),
            "test": asdict(compare_pairs(metric, second, first, seed, self._owners or None, level)),
            "slices": slices,
        }


def compare_runs(
    first_dir: Path,
    second_dir: Path,
    seed: int,
    flips: FlipStore,
    level: float = LEVEL,
    records: Records | None = None,
) -> Content:
    """Compare two runs group by group; of a group of several metrics each is scored by itself.

    Args:
        first_dir: Predictions of what is there today.
        second_dir: Predictions of what may replace it.
        seed: Of draws.
        flips: Gets the rows whose score changed: `group`, `metric`, `id`, `question`, `target`, `first`, `second`
            (predictions), `first_score` and `second_score`.
        level: Of intervals.
        records: What was asked; None where it is not known, and rows are divided by what predictions tell.

    Returns:
        `groups`: each with `group`, `task`, `metric`, `num_rows`, `first` and `second` (scores), `test` (the fields of
        `PairedTest` for the second against the first, with `p_adjusted` for all groups), of written answers
        `text_errors` of `first` and `second`, and `slices`: `by`, `name`, `first`, `second`, and the fields of their
        `test`, with `p_adjusted` for all slices. `first` and `second` are the folders, `level` is that of the
        intervals.

    Raises:
        UserError: if the two did not answer the same rows of the same groups.
    """
    check_same_rows(first_dir, second_dir)
    known = records or Records()
    contests: dict[str, Contest] = {}
    called = find_groups(second_dir)
    for columns in read_pairs(first_dir, second_dir, known.files):
        row = {name: values[0] for name, values in columns.items()}
        name = called[row["task"], row["group"], row["metric"]]
        row["group"] = name.whole
        if name.part not in contests:
            contests[name.part] = Contest(
                len(contests), Tally.begin(row), Tally.begin(row), SliceBook(known.fields), known.clusters
            )
        contests[name.part].add(columns, flips)
    groups = {name: one.describe(seed, level) for name, one in contests.items()}
    add_adjusted([group["test"] for group in groups.values()])
    add_adjusted([part["test"] for group in groups.values() for part in group["slices"]])
    return {"first": place_of(first_dir), "second": place_of(second_dir), "level": level, "groups": groups}


def find_records(predictions_dir: Path) -> Records:
    """Return what a run was asked, by the config that stands above its predictions; nothing where there is none."""
    run_dir = next((place for place in predictions_dir.parents[:3] if (place / "config.yaml").is_file()), None)
    if run_dir is None:
        return Records()
    try:
        config = load_config(str(run_dir / "config.yaml"))
    except UserError as error:
        logger.warning("rows are not divided by fields of their records: %s", error)
        return Records()
    folder = local_path(config.data.records_dir) if config.data.records_dir else run_dir / "records"
    files = sorted(map(str, folder.glob(f"task=*/{predictions_dir.name}/*.parquet")))
    return Records(files, config.evaluate.slices, config.evaluate.clusters)


def find_predictions(folder: Path, split: str | None) -> Path:
    """Return the folder of a run's predictions: itself, or that of the split below it.

    Args:
        folder: A run directory, or a folder of predictions.
        split: Name of the split; None where there is only one.

    Raises:
        UserError: naming the splits that there are.
    """
    if any(folder.glob("*.parquet")):
        return folder
    found = {path.name.removeprefix("split="): path for path in sorted(folder.glob("predictions/split=*"))}
    if not found:
        raise UserError(f"{place_of(folder)} holds no predictions; name a run directory, after `eshop batch-infer`")
    if split is None and len(found) > 1:
        raise UserError(f"{place_of(folder)} has answered {', '.join(found)}; name one: --split {next(iter(found))}")
    if split is not None and split not in found:
        raise UserError(f"{place_of(folder)} has not answered split `{split}`; there is {', '.join(found)}")
    return found[split] if split else next(iter(found.values()))
