"""Which merge is promoted: the best of those that cost no task more than the limit, or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from eshop_ray.evaluation.quantization_check import Scores, is_allowed, measure_lost, word_costs


@dataclass(frozen=True, slots=True)
class Choice:
    """The merge that was chosen, and whether it may replace the adapters that it was made of."""

    id: str
    promoted: bool
    lost: dict[str, float]
    """Task -> share of its own adapter's score that the merge costs; below 0 where it gains."""
    verdict: str
    """One sentence for people."""


def choose(candidates: Mapping[str, Scores], single_scores: Scores, max_lost_share: float) -> Choice:
    """Choose the best mean score among the merges that pass, or, if none does, the one whose worst loss is smallest.

    Args:
        candidates: Id -> scores of all tasks, best loss first: of equal ones the first is chosen.
        single_scores: Of each task's best own adapter, on the same rows.
        max_lost_share: `search.max_lost_share`.
    """
    lost = {name: measure_lost(scores, single_scores) for name, scores in candidates.items()}
    worst = {name: max(shares.values()) for name, shares in lost.items()}
    passed = [name for name in candidates if is_allowed(worst[name], max_lost_share)]
    if passed:
        name = max(passed, key=lambda name: fmean(candidates[name].values()))
        return Choice(name, True, lost[name], _word_promoted(name, lost[name], max_lost_share))
    name = min(candidates, key=lambda name: worst[name])
    verdict = _word_rejected(name, candidates[name], single_scores, max_lost_share)
    return Choice(name, False, lost[name], verdict)


def _word_promoted(name: str, lost: Scores, max_lost_share: float) -> str:
    task = max(lost, key=lambda task: lost[task])
    if lost[task] <= 0:
        return f"{name} is promoted: no task scores lower than with its own adapter."
    return (
        f"{name} is promoted: it costs {task} {lost[task]:.1%} of its own adapter's score, no task more, and "
        f"{max_lost_share:.1%} are allowed."
    )


def _word_rejected(name: str, scores: Scores, single_scores: Scores, max_lost_share: float) -> str:
    costs = word_costs(scores, single_scores, max_lost_share)
    return (
        f"No merge is promoted: even {name}, the one that costs its worst task least, costs {costs} of the score of "
        f"the task's own adapter, and {max_lost_share:.1%} are allowed."
    )
