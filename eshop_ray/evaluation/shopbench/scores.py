"""Answers -> scores as the competition has them: rows -> tasks -> tracks -> overall, each with its interval.

A track's score is the mean over its tasks, whatever their number of rows; the overall one is the mean over tracks.
Tasks are drawn apart from one another, each with its own rows, and every draw is averaged as the scores are.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from eshop_ray.evaluation.shopbench.questions import Question
from eshop_ray.evaluation.shopbench.task_types import infer_task_type
from eshop_ray.evaluation.significance import NUM_DRAWS, add_adjusted, compare_pairs
from eshop_ray.tasks import get_task
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.bootstrap import LEVEL, draw_differences, draw_exchanges, draw_scores
from eshop_ray.tasks.metrics.metric import Numbers

OVERALL = "overall"
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """One task's rows as their metrics count them, in the order of the questions."""

    metric: str
    """By which counts are combined; of several that are means of their rows, the first."""
    metrics: tuple[str, ...]
    counts: Numbers
    types: tuple[str, ...]
    """Of each row."""
    track: int | None
    num_unparsed: int

    def select(self, task_type: str) -> Numbers:
        """Return the rows of a type."""
        return self.counts[[one == task_type for one in self.types]]


Scored = Mapping[str, TaskCounts]
"""Task -> its rows."""


def count_tasks(questions: Sequence[Question], predictions: Sequence[Any]) -> dict[str, TaskCounts]:
    """Return the rows of each task as their metrics count them.

    Args:
        questions: With gold.
        predictions: What the parser of each question's true type read; None where there is no answer.
    """
    groups: dict[str, list[tuple[Question, Any]]] = defaultdict(list)
    for question, prediction in zip(questions, predictions, strict=True):
        groups[question.group].append((question, prediction))
    return {group: _count_task(rows) for group, rows in sorted(groups.items())}


def _count_task(rows: Sequence[tuple[Question, Any]]) -> TaskCounts:
    golds = [question.gold for question, _ in rows if question.gold]
    metrics = sorted({gold.metric for gold in golds})
    parts: dict[int, Numbers] = {}
    for metric in metrics:
        places = [place for place, gold in enumerate(golds) if gold.metric == metric]
        counted = get_metric(metric).count_rows([golds[place].target for place in places], [rows[p][1] for p in places])
        parts.update(zip(places, counted, strict=True))
    unparsed = (prediction == get_task(gold.task).unparsed for gold, (_, prediction) in zip(golds, rows, strict=True))
    return TaskCounts(
        metric=metrics[0],
        metrics=tuple(metrics),
        counts=np.array([parts[place] for place in range(len(rows))]),
        types=tuple(gold.task for gold in golds),
        track=rows[0][0].track,
        num_unparsed=sum(unparsed),
    )


def describe_scores(scored: Scored, seed: int) -> dict[str, Any]:
    """Return the scores of one model.

    Returns:
        `tasks`, `types`, `tracks`, each name -> `score`, `low`, `high`, `num_rows` and more, and `overall`.
    """
    tasks, types, tracks = {}, defaultdict(list), defaultdict(list)
    for number, (name, task) in enumerate(scored.items()):
        whole = _measure(task.metric, task.counts, seed + number)
        told = {"metric": ", ".join(task.metrics), "types": sorted(set(task.types)), "track": task.track}
        tasks[name] = {**told, **_describe(*whole), "num_unparsed": task.num_unparsed}
        tracks[task.track].append(whole)
        for task_type in sorted(set(task.types)):
            is_whole = len(set(task.types)) == 1
            part = whole if is_whole else _measure(task.metric, task.select(task_type), seed + number)
            types[task_type].append(part)
    by_track = {track: _average(members) for track, members in sorted(tracks.items(), key=lambda item: item[0] or 0)}
    return {
        "tasks": tasks,
        "types": {name: _tell(members) for name, members in sorted(types.items())},
        "tracks": {"none" if track is None else str(track): _tell(tracks[track]) for track in by_track},
        OVERALL: _tell(list(by_track.values())),
    }


def compare_models(scored: Scored, reference: Scored, seed: int) -> dict[str, Any]:
    """Test a model against another on the same rows.

    Returns:
        `tasks`, name -> the fields of a `PairedTest` with `p_adjusted` (Holm, over the tasks), and `overall`, which has
        `difference`, `low`, `high` and `p_value`: each row's answers are exchanged by the toss of a coin, and tasks and
        tracks are averaged as the score is.
    """
    tasks, differences, exchanges = {}, defaultdict(list), defaultdict(list)
    for number, (name, task) in enumerate(scored.items()):
        other = reference[name]
        tasks[name] = asdict(compare_pairs(task.metric, task.counts, other.counts, seed + number))
        arguments = (task.metric, task.counts, other.counts, seed + number, NUM_DRAWS)
        differences[task.track].append((tasks[name]["difference"], draw_differences(*arguments)))
        exchanges[task.track].append(draw_exchanges(*arguments))
    add_adjusted(list(tasks.values()))
    difference = float(np.mean([np.mean([one for one, _ in members]) for members in differences.values()]))
    drawn = np.mean([np.mean([one for _, one in members], axis=0) for members in differences.values()], axis=0)
    exchanged = np.abs(np.mean([np.mean(members, axis=0) for members in exchanges.values()], axis=0))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p_value = float((1 + (exchanged >= abs(difference) - _ROUNDING).sum()) / (1 + NUM_DRAWS))
    overall = {"difference": difference, "low": float(low), "high": float(high), "p_value": p_value}
    return {"tasks": tasks, OVERALL: overall}


def judge_types(questions: Sequence[Question]) -> dict[str, Any]:
    """Compare the types that are inferred from the questions' texts with those that the file states.

    Returns:
        `type_accuracy`, its Wilson interval `low` and `high`, `num_rows`, `confusion`: true type -> inferred type ->
        rows, and `wrong`: file and line of the first that are wrong.
    """
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    wrong = []
    for question in questions:
        if question.gold:
            inferred = infer_task_type(question.prompt)
            confusion[question.gold.task][inferred] += 1
            if inferred != question.gold.task:
                wrong.append(question.place)
    num_rows = sum(counts.total() for counts in confusion.values())
    num_right = num_rows - len(wrong)
    interval = binomtest(num_right, num_rows).proportion_ci(LEVEL, method="wilson")
    return {
        "type_accuracy": num_right / num_rows,
        "low": float(interval.low),
        "high": float(interval.high),
        "num_rows": num_rows,
        "confusion": {name: dict(sorted(counts.items())) for name, counts in sorted(confusion.items())},
        "wrong": wrong[:10],
    }


Member = tuple[float, Numbers, int]
"""Score, drawn scores, rows."""


def _measure(metric: str, counts: Numbers, seed: int) -> Member:
    return float(get_metric(metric).combine(counts.sum(axis=0))), draw_scores(metric, counts, seed), len(counts)


def _average(members: Sequence[Member]) -> Member:
    scores, drawn, nums_rows = zip(*members, strict=True)
    return float(np.mean(scores)), np.mean(drawn, axis=0), sum(nums_rows)


def _tell(members: Sequence[Member]) -> dict[str, Any]:
    return {**_describe(*_average(members)), "num_members": len(members)}


def _describe(score: float, drawn: Numbers, num_rows: int) -> dict[str, Any]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"score": score, "low": float(low), "high": float(high), "num_rows": num_rows}
