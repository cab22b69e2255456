"""Answers -> points: a model trained in one way on one size, its seeds together, tested against its task's best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from eshop_ray.config import Config
from eshop_ray.config.matrix import MatrixModel, MatrixStrategy
from eshop_ray.errors import UserError
from eshop_ray.evaluation.matrix.answers import Answers
from eshop_ray.evaluation.matrix.costs import find_price, read_training, round_to
from eshop_ray.evaluation.matrix.plan import Run
from eshop_ray.evaluation.matrix.units import Unit
from eshop_ray.evaluation.significance import add_adjusted, compare_pairs
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.metric import Numbers

Test = dict[str, Any]
"""The fields of a `PairedTest`, and `p_adjusted` by all tests of the matrix."""


@dataclass(eq=False)
class Point:
    """What one model, trained in one way on one size, is worth for one group."""

    unit: Unit
    model: MatrixModel
    strategy: MatrixStrategy
    size: int
    answers: list[Answers]
    """One for each seed."""
    pretrained: bool
    """Whether the model knew anything before; one that did not is left out of every verdict."""
    train_seconds: float
    """Mean over the seeds."""
    rows_per_second: float | None
    price_per_million: float | None
    behind: Test | None = None
    """The best of the group tested against this one; None for the best itself."""
    growth: Test | None = None
    """This one tested against the size before it, where there is one."""

    @property
    def counts(self) -> Numbers:
        """What each row adds to the sums, the mean over the seeds: rows stay the units that are drawn."""
        mean: Numbers = np.mean([one.counts for one in self.answers], axis=0)
        return mean

    @property
    def run(self) -> Run:
        """Of the first seed."""
        return self.answers[0].run

    @property
    def score(self) -> float:
        """Of all seeds together."""
        return float(get_metric(self.metric).combine(self.counts.sum(0)))

    @property
    def metric(self) -> str:
        """The group's."""
        return self.answers[0].metric

    @property
    def num_rows(self) -> int:
        """Rows that were answered."""
        return len(self.answers[0].ids)

    @property
    def num_observations(self) -> int:
        """Rows, or what they belong to."""
        return len(set(self.answers[0].clusters or self.answers[0].ids))


def build_points(config: Config, found: Iterable[Answers]) -> list[Point]:
    """Put the seeds of each point together, and test the points of each group against its best.

    Raises:
        UserError: if two runs did not answer the same rows of a group.
    """
    gathered: dict[tuple[Unit, *tuple[object, ...]], list[Answers]] = {}
    for one in found:
        gathered.setdefault((one.unit, *name_way(config, one.run).values()), []).append(one)
    points = [_build(config, answers) for answers in gathered.values()]
    for unit in dict.fromkeys(point.unit for point in points):
        _test([point for point in points if point.unit == unit], config.seed)
    add_adjusted([test for point in points for test in (point.behind, point.growth) if test])
    return points


def name_way(config: Config, run: Run) -> dict[str, Any]:
    """Return what tells a run from the others that answer a group, but for its seed, as `matrix.json` has it."""
    return {
        "model": run.model,
        "strategy": run.strategy,
        "size": run.size,
        "num_examples": run.num_examples,
        "example_choice": (run.choice or config.few_shot.choice) if run.num_examples else None,
    }


def _build(config: Config, answers: list[Answers]) -> Point:
    run = answers[0].run
    trained = [read_training(config, one.run) for one in answers]
    rates = [one.rows_per_second for one in answers if one.rows_per_second]
    rate = fmean(rates) if len(rates) == len(answers) else None
    return Point(
        unit=answers[0].unit,
        model=run.model,
        strategy=run.strategy,
        size=run.size,
        answers=answers,
        pretrained=all(one.pretrained for one in trained),
        train_seconds=fmean(one.seconds for one in trained),
        rows_per_second=rate,
        price_per_million=find_price(config.matrix.price_per_hour, rate),
    )


def _test(points: Sequence[Point], seed: int) -> None:
    """Test the best point of a group against each other one, and each size against the one before it."""
    _check_same_rows(points)
    known = [point for point in leave_out_twins(points) if point.pretrained]
    if not known:
        return
    best = max(known, key=lambda point: point.score)
    for point in points:
        if point is not best:
            point.behind = compare_points(best, point, seed)
        smaller = [one for one in points if _is_same_way(one, point) and 0 < one.size < point.size]
        if smaller:
            point.growth = compare_points(point, max(smaller, key=lambda one: one.size), seed)


def leave_out_twins(points: Sequence[Point]) -> list[Point]:
    """Return what there is to choose among, for one group: `switched` has the weights of `single`, kept otherwise."""
    own = {point.size for point in points if point.strategy == "single" and point.model == "llm"}
    return [point for point in points if point.strategy != "switched" or point.size not in own]


def compare_points(one: Point, other: Point, seed: int) -> Test:
    """Test two points of a group on their rows."""
    clusters = one.answers[0].clusters
    return asdict(compare_pairs(one.metric, one.counts, other.counts, seed, clusters))


def _is_same_way(one: Point, other: Point) -> bool:
    return (one.model, one.strategy) == (other.model, other.strategy)


def _check_same_rows(points: Sequence[Point]) -> None:
    every = [answers for point in points for answers in point.answers]
    first = every[0]
    for other in every[1:]:
        same = (first.ids, first.targets, first.metric) == (other.ids, other.targets, other.metric)
        if not same:
            raise UserError(
                f"{first.unit.name}: {first.run.name} and {other.run.name} answered different rows ({len(first.ids)} "
                f"and {len(other.ids)}), or were held against other targets; remove the older one's folder and give "
                "the same command again"
            )


def list_cells(config: Config, points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the cells of `matrix.json`: one for each point and seed."""
    return [_describe(config, point, one) for point in points for one in point.answers]


def _describe(config: Config, point: Point, one: Answers) -> dict[str, Any]:
    low, high = one.find_interval(config.seed)
    return {
        "task": point.unit.name,
        "metric": point.metric,
        "split": config.evaluate.split,
        **name_way(config, point.run),
        "num_train_rows": min(point.size, point.unit.num_train_rows),
        "seed": one.run.seed,
        "pretrained": point.pretrained,
        "score": one.score,
        "low": low,
        "high": high,
        "n": point.num_rows,
        "num_observations": point.num_observations,
        "num_errors": one.num_errors,
        "p_vs_best": point.behind["p_adjusted"] if point.behind else None,
        "detectable": point.behind["detectable"] if point.behind else None,
        "train_seconds": round_to(read_training(config, one.run).seconds),
        "rows_per_second": round_to(one.rows_per_second),
        "tokens_per_row": round_to(one.tokens_per_row),
        "price_per_million": round_to(find_price(config.matrix.price_per_hour, one.rows_per_second)),
    }


def pick_largest(points: Iterable[Point]) -> Mapping[tuple[str, MatrixModel, MatrixStrategy], Point]:
    """Return group, model and strategy -> the point of the largest size."""
    largest: dict[tuple[str, MatrixModel, MatrixStrategy], Point] = {}
    for point in points:
        key = (point.unit.name, point.model, point.strategy)
        if key not in largest or point.size > largest[key].size:
            largest[key] = point
    return largest


def pick_best(points: Iterable[Point]) -> list[Point]:
    """Return of each model and strategy the size, or the number and choice of examples, that scored best, for one
    group.
    """
    best: dict[tuple[MatrixModel, MatrixStrategy], Point] = {}
    for point in points:
        known = best.get((point.model, point.strategy))
        if known is None or point.score > known.score:
            best[point.model, point.strategy] = point
    return list(best.values())
