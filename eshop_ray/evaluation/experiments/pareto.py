"""Which candidates are worth a closer look: measured against each task's own adapter, on average and at worst."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Losses = Mapping[str, float | None]
"""Task -> mean loss per answer token; None for a loss that is no number."""
LEAST_LOSS = 1e-9
"""A loss below it counts as this, so that a task learned by heart can still be compared."""


def compare(losses: Losses, best_single: Mapping[str, float]) -> dict[str, Any]:
    """Return how much of each task's own adapter a candidate gives up.

    Args:
        losses: The candidate's.
        best_single: Task -> loss of the best adapter that was trained on that task alone.

    Returns:
        `ratios` (task -> loss / best single loss; below 1 is better than the task's own adapter), their `mean` and the
        `worst`, their maximum. All three hold None where a loss is no number.
    """
    ratios = {
        task: None if loss is None else loss / max(best_single[task], LEAST_LOSS) for task, loss in losses.items()
    }
    known = [ratio for ratio in ratios.values() if ratio is not None]
    is_known = bool(known) and len(known) == len(ratios)
    return {"ratios": ratios, "mean": fmean(known) if is_known else None, "worst": max(known) if is_known else None}


def rank(candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return candidates with `is_pareto`, best mean first: those measured by most rows before the others, and last
    those whose losses are no numbers.

    Args:
        candidates: With `id`, `mean`, `worst` and `num_rows`, by how many rows they were measured.
    """
    front = find_front(pick_finalists(candidates))

    def place(candidate: Mapping[str, Any]) -> tuple[Any, ...]:
        return not _is_known(candidate), -candidate["num_rows"], candidate["mean"], candidate["id"]

    ordered = sorted(candidates, key=place)
    return [{**candidate, "is_pareto": candidate["id"] in front} for candidate in ordered]


def pick_finalists(candidates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the candidates that were measured by most rows; what is compared is compared on equal rows."""
    known = list(filter(_is_known, candidates))
    most = max((candidate["num_rows"] for candidate in known), default=0)
    return [candidate for candidate in known if candidate["num_rows"] == most]


def find_front(candidates: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the Pareto front of `mean` and `worst`, lower being better.

    No other candidate is better than one of the front in one of the two and at least as good in the other. Equal
    candidates are on it together.
    """
    known = sorted(filter(_is_known, candidates), key=lambda candidate: (candidate["mean"], candidate["worst"]))
    front, lowest = set[str](), (float("inf"), float("inf"))
    for candidate in known:
        place = (candidate["worst"], candidate["mean"])
        if place[0] < lowest[0] or place == lowest:
            front.add(candidate["id"])
            lowest = place
    return front


def pick_few(candidates: Sequence[Mapping[str, Any]], num: int) -> list[str]:
    """Return the ids of the candidates to confirm: the best mean, the best worst task, then the front and the others.

    Args:
        candidates: With `id`, `mean`, `worst` and `num_rows`, in any order; of those measured by most rows.
        num: How many at most; fewer if there are fewer whose losses are numbers.
    """
    known = pick_finalists(candidates)
    front = find_front(known)

    def weigh(candidate: Mapping[str, Any]) -> tuple[float, str]:
        return candidate["mean"] + candidate["worst"], candidate["id"]

    firsts = [
        min(known, key=lambda candidate: (candidate[name], *weigh(candidate))) for name in ("mean", "worst") if known
    ]
    rest = sorted(known, key=lambda candidate: (candidate["id"] not in front, *weigh(candidate)))
    return list(dict.fromkeys(candidate["id"] for candidate in [*firsts, *rest]))[:num]


def _is_known(candidate: Mapping[str, Any]) -> bool:
    return candidate["mean"] is not None
