"""The content of `matrix.json`: cells, verdicts, what one model for all tasks keeps, and what is missing."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from eshop_ray.config import Config
from eshop_ray.evaluation.matrix.plan import Run, can_answer, find_rung
from eshop_ray.evaluation.matrix.points import Point, leave_out_twins, list_cells, name_way, pick_best, pick_largest
from eshop_ray.evaluation.matrix.units import Unit
from eshop_ray.evaluation.matrix.verdicts import LABELS, Contender, word_verdict
from eshop_ray.reporting.words import count

MATRIX = "matrix.json"

ONE_MODEL = ("mixed", "distilled", "merged", "switched")
"""Strategies that answer all tasks with one model."""

Outcome = dict[str, Any]


def describe(
    config: Config, units: Sequence[Unit], runs: Sequence[Run], points: Sequence[Point], failed: Mapping[str, str]
) -> Outcome:
    """Return the content of `matrix.json`.

    Args:
        config: The matrix's.
        units: Its groups.
        runs: That were planned.
        points: Of those that are done.
        failed: Name of each run that failed -> why.
    """
    missing = [
        {
            "task": unit.name,
            **name_way(config, run),
            "seed": run.seed,
            "reason": failed[run.name],
        }
        for run in runs
        if run.name in failed
        for unit in run.units
    ]
    return {
        "cells": list_cells(config, points),
        "missing": missing,
        "one_model_share": share_of_single(config, units, points),
        "switched_vs_dense": compare_speed(units, points),
        "switch_seconds": average_exchange(points),
        "verdicts": {unit.name: judge(config, unit, points, missing) for unit in units},
        "tests": [_describe_test(config, point) for point in points if point.behind],
        "price_per_hour": config.matrix.price_per_hour,
    }


def share_of_single(config: Config, units: Sequence[Unit], points: Sequence[Point]) -> dict[str, float]:
    """Return strategy -> its mean score over the groups as a share of the mean of their own adapters.

    All at the largest size. A strategy that lacks a group has no share: a mean of others would be another thing.
    """
    largest = pick_largest(points)
    top = max(config.matrix.sizes)
    single = [largest.get((unit.name, "llm", "single")) for unit in units]
    own = [point for point in single if point is not None]
    if len(own) < len(units) or any(point.size != find_rung(point.unit, top, config.matrix.sizes) for point in own):
        return {}
    mean = fmean(point.score for point in own)
    if not mean:
        return {}
    size = max(point.size for point in own)
    shares = {}
    for strategy in ONE_MODEL:
        found = [point for point in largest.values() if point.strategy == strategy]
        if len(found) == len(units) and all(point.size == size for point in found):
            shares[strategy] = fmean(point.score for point in found) / mean
    return shares


def compare_speed(units: Sequence[Unit], points: Sequence[Point]) -> float | None:
    """Return the rows a second of `switched`, over all groups, as a share of those of the groups' own models.

    Engines that were up; how long they took to start is no part of it. None where one was not measured.
    """
    largest = pick_largest(points)
    seconds = []
    for strategy in ("single", "switched"):
        found = [largest.get((unit.name, "llm", strategy)) for unit in units]
        times = [one.num_rows / one.rows_per_second for one in found if one and one.rows_per_second]
        seconds.append(sum(times) if len(times) == len(units) else 0.0)
    return seconds[0] / seconds[1] if all(seconds) else None


def average_exchange(points: Sequence[Point]) -> float | None:
    """Return the mean seconds of an exchange of weights; None where there was none."""
    found = [one.switch_seconds for point in points for one in point.answers if one.switch_seconds is not None]
    return fmean(found) if found else None


def judge(config: Config, unit: Unit, points: Sequence[Point], missing: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict of one group: of each model and strategy the size counts that scored best."""
    own = [point for point in points if point.unit == unit]
    contenders = [_contend(point, own) for point in pick_best(leave_out_twins(own)) if point.pretrained]
    lost = dict.fromkeys(_name(one) for one in missing if one["task"] == unit.name)
    untrained = dict.fromkeys(LABELS[point.model, point.strategy] for point in own if not point.pretrained)
    return word_verdict(
        unit.name,
        own[0].num_observations if own else 0,
        contenders,
        list(lost),
        list(untrained),
        [model for model in config.matrix.models if not can_answer(model, unit)],
        "price" if config.matrix.price_per_hour else "time",
    )


def _contend(point: Point, points: Sequence[Point]) -> Contender:
    last = pick_largest(points)[point.unit.name, point.model, point.strategy]
    return Contender(
        model=point.model,
        strategy=point.strategy,
        size=min(last.size, last.unit.num_train_rows),
        score=point.score,
        behind=point.behind,
        seconds_per_row=1 / point.rows_per_second if point.rows_per_second else None,
        growth=last.growth,
    )


def _name(missing: Mapping[str, Any]) -> str:
    size = f" after {count(missing['size'], 'row')}" if missing["size"] else ""
    return f"{LABELS[missing['model'], missing['strategy']]}{size}"


def _describe_test(config: Config, point: Point) -> dict[str, Any]:
    return {
        "task": point.unit.name,
        **name_way(config, point.run),
        **(point.behind or {}),
    }
