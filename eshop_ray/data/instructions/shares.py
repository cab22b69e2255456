"""How much of the material each sub-task is made of: as much as its quota needs, and more where that gives too little.

Some candidates are removed later, and some material gives no question: of how much nobody knows before it is built.
"""

from collections import Counter
from collections.abc import Mapping

from eshop_ray.data.instructions.material import KINDS
from eshop_ray.data.instructions.plan import Plan, is_trained, list_splits, takes

Shares = Mapping[tuple[str, str], float]
"""(sub-task, split) -> share of its material, on its side of the splits, that is drawn."""

_SLACK = 4
"""Candidates for each row that a quota asks for."""
_FEWEST = 200
"""Candidates that are built however small the quota."""
_ENOUGH = 2
"""Candidates for each row that a quota asks for, below which more material is drawn: repeats are still to go."""


def plan_shares(plan: Plan, counts: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str], float]:
    """Return the shares to begin with: as if each piece of material gave a question.

    Args:
        plan: The quotas.
        counts: (source, kind, department) -> how much material there is.
    """
    there: Counter[tuple[str, str]] = Counter()
    for (source, kind, _), number in counts.items():
        for entry in plan.entries:
            if source in entry.sources and takes(entry, KINDS[kind]):
                there.update(dict.fromkeys(((entry.name, split) for split in list_splits(entry)), number))
    return {key: _share(plan.limit_of(*key), number * _size_side(plan, key[1])) for key, number in there.items()}


def widen_shares(shares: Shares, found: Mapping[tuple[str, str], int], plan: Plan) -> dict[tuple[str, str], float]:
    """Return shares with those larger that gave too few candidates; they are equal where there is nothing to gain.

    Args:
        shares: Drawn so far.
        found: (sub-task, split) -> candidates that may stay.
        plan: The quotas.
    """
    return {key: _widen(share, found.get(key, 0), plan.limit_of(*key)) for key, share in shares.items()}


def _share(wanted: int | None, there: float) -> float:
    return 1.0 if wanted is None else min(1.0, (_SLACK * wanted + _FEWEST) / max(there, 1.0))


def _widen(share: float, found: int, wanted: int | None) -> float:
    if wanted is None or found >= _ENOUGH * wanted:
        return share
    return min(1.0, share * (_SLACK * wanted + _FEWEST) / max(found, 1))


def _size_side(plan: Plan, split: str) -> float:
    return 1 - plan.eval_share if is_trained(split) else plan.eval_share
