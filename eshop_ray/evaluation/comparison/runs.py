"""Two runs' answers to the same rows: scores, tests, slices, and the rows whose score changed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.evaluation.comparison.slices import find_slices
from eshop_ray.evaluation.evaluate import COLUMNS, count_both, read_groups, score_group
from eshop_ray.evaluation.significance import add_adjusted, compare_pairs
from eshop_ray.places import place_of
from eshop_ray.schema import Row, decode
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.metrics.bootstrap import LEVEL

_MORE_COLUMNS = ("messages", "num_input_tokens")

Content = dict[str, Any]
"""The content of a `comparison.json`."""


def compare_runs(first_dir: Path, second_dir: Path, seed: int, level: float = LEVEL) -> Content:
    """Compare two runs group by group.

    Args:
        first_dir: Predictions of what is there today.
        second_dir: Predictions of what may replace it.
        seed: Of draws.
        level: Of intervals.

    Returns:
        `groups`: each with `task`, `metric`, `num_rows`, `first` and `second` (scores), `test` (the fields of
        `PairedTest` for the second against the first, with `p_adjusted` for all groups) and `slices`: `by`, `name`,
        `first`, `second`, and the fields of their `test`, with `p_adjusted` for all slices. `first` and `second` are
        the folders, `level` is that of the intervals.

    Raises:
        UserError: if the two did not answer the same rows of the same groups.
    """
    others = _read(first_dir)
    groups = {
        name: _compare_group(name, rows, others.pop(name, []), seed, level) for name, rows in _iterate(second_dir)
    }
    if others:
        raise UserError(
            f"{place_of(first_dir)} has answers to {', '.join(f'`{name}`' for name in sorted(others))}, and "
            f"{place_of(second_dir)} has none; run `eshop batch-infer` for both with the same `data.tasks`"
        )
    add_adjusted([group["test"] for group in groups.values()])
    add_adjusted([part["test"] for group in groups.values() for part in group["slices"]])
    return {"first": place_of(first_dir), "second": place_of(second_dir), "level": level, "groups": groups}


def list_flips(first_dir: Path, second_dir: Path) -> Iterator[Row]:
    """Yield the rows whose score changed: those that the second run lost first, by group, the largest loss first.

    Yields:
        `group`, `id`, `question`, `target`, `first`, `second` (predictions), `first_score` and `second_score`.
    """
    others = _read(first_dir)
    for name, rows in _iterate(second_dir):
        metric = get_metric(rows[0]["metric"])
        targets = [decode(row["target"]) for row in rows]
        sides = [[decode(row["prediction"]) for row in side] for side in (others[name], rows)]
        scores = [metric.score_rows(targets, side) for side in sides]
        changed = [place for place in range(len(rows)) if scores[0][place] != scores[1][place]]
        for place in sorted(changed, key=lambda place: scores[1][place] - scores[0][place]):
            yield {
                "group": name,
                "id": rows[place]["id"],
                "question": "\n".join(message["content"] for message in (rows[place]["messages"] or ())[-1:]),
                "target": targets[place],
                "first": sides[0][place],
                "second": sides[1][place],
                "first_score": scores[0][place],
                "second_score": scores[1][place],
            }


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


def _compare_group(name: str, rows: Sequence[Row], others: Sequence[Row], seed: int, level: float) -> Content:
    second, first = count_both(name, rows, others)
    metric = get_metric(rows[0]["metric"])
    slices = []
    for (way, part), places in find_slices(rows).items():
        test = compare_pairs(metric.name, second[places], first[places], seed, level=level)
        sides = {"first": first, "second": second}
        scores = {side: float(metric.combine(counts[places].sum(0))) for side, counts in sides.items()}
        slices.append({"by": way, "name": part, **scores, "test": asdict(test)})
    return {
        "task": rows[0]["task"],
        "metric": metric.name,
        "num_rows": len(rows),
        "first": score_group(others)["score"],
        "second": score_group(rows)["score"],
        "test": asdict(compare_pairs(metric.name, second, first, seed, level=level)),
        "slices": slices,
    }


def _iterate(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    return read_groups(folder, (*COLUMNS, *_MORE_COLUMNS))


def _read(folder: Path) -> dict[str, list[Row]]:
    return dict(_iterate(folder))
