"""Several adapters into one update: PEFT's `add_weighted_adapter`, module by module, without a model."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge, task_arithmetic

from eshop_ray.config import MergeSection
from eshop_ray.training.merging.adapters import AdapterFile, Update, list_modules
from eshop_ray.training.merging.lowrank import truncate, truncate_sum
from eshop_ray.training.merging.recipe import get_weights
from eshop_ray.training.merging.thinning import Part, drop, read_part, seeded, trim

TRIMMED, DROPPED = {"ties", "magnitude_prune"}, {"dare_linear", "dare_ties"}
ELECTED = {"ties", "dare_ties"}

_CHUNK_VALUES = 1 << 17
"""Values of a dense update that are looked at together: few enough to stay in a core's cache."""


class Weighted(NamedTuple):
    """One adapter's part in a module."""

    adapter: AdapterFile
    weight: float


def combine(adapters: Sequence[AdapterFile], merge: MergeSection, seed: int) -> Iterator[tuple[str, Update]]:
    """Yield the update of every module that any of the adapters changes, sorted by module.

    Args:
        adapters: That `check_merge` let through.
        merge: Method, weights, density and share of the update; its `adapters` are not read.
        seed: Of the methods that leave values to chance.
    """
    for module in list_modules(adapters):
        yield module, combine_module(adapters, merge, seed, module)


def combine_module(adapters: Sequence[AdapterFile], merge: MergeSection, seed: int, module: str) -> Update:
    """Return the update of one module; the same one whatever was combined before."""
    weights = get_weights(merge, len(adapters))
    shares = [Weighted(a, weight) for a, weight in zip(adapters, weights, strict=True) if a.has(module)]
    rank = merge.svd_rank or max(adapter.max_rank for adapter in adapters)
    # A single adapter is only weighted, as by PEFT, whatever the method.
    method = merge.method if len(adapters) > 1 else "cat"
    if method == "cat":
        factor_a, factor_b = _stack(shares, module)
    elif method == "svd":
        factor_a, factor_b = truncate_sum([_read(share, module) for share in shares], rank)
    elif method == "ties_svd":
        guess = torch.cat([share.adapter.read_factors(module)[0] for share in shares])
        factor_a, factor_b = truncate(_elect_dense(shares, merge, module), rank, guess)
    else:
        with seeded(seed, module):
            factor_a = _add_factors(shares, merge, method, module, "A")
            factor_b = _add_factors(shares, merge, method, module, "B")
    return factor_a, factor_b * merge.wise_ft


def _read(share: Weighted, module: str) -> Update:
    """Return the update with its weight."""
    factor_a, factor_b = share.adapter.read(module)
    return factor_a, factor_b * share.weight


def _stack(shares: Sequence[Weighted], module: str) -> Update:
    """Return the sum of updates: factors side by side."""
    updates = [_read(share, module) for share in shares]
    return torch.cat([a for a, _ in updates]), torch.cat([b for _, b in updates], dim=1)


def _add_factors(shares: Sequence[Weighted], merge: MergeSection, method: str, module: str, part: Part) -> torch.Tensor:
    """Return the sum of one factor over the adapters, each with the root of its weight; the sign goes with A.

    Thinning out and election see the factors as they were trained, without weight and scale.
    """
    factors, weights = [], []
    for adapter, weight in shares:
        factor = read_part(adapter, module, part)
        if method in TRIMMED:
            factor = trim(factor, adapter, module, part, merge.density)
        elif method in DROPPED:
            factor = drop(factor, merge.density)
        scaled = weight * adapter.scaling(module)
        factors.append(factor)
        weights.append(math.copysign(math.sqrt(abs(scaled)), scaled if part == "A" else 1.0))
    roots = torch.tensor(weights)
    if method not in ELECTED:
        return task_arithmetic(factors, roots)
    stacked = torch.stack(factors)
    return disjoint_merge(stacked * roots[:, None, None], calculate_majority_sign_mask(stacked, merge.majority_sign))


def _elect_dense(shares: Sequence[Weighted], merge: MergeSection, module: str) -> torch.Tensor:
    """Return PEFT's `ties` of the dense updates (out, in), a few rows at a time."""
    updates = [(share, *share.adapter.read(module)) for share in shares]
    num_out, num_in = len(updates[0][2]), updates[0][1].shape[1]
    merged = torch.empty(num_out, num_in)
    num_rows = max(1, _CHUNK_VALUES // num_in)
    for start in range(0, num_out, num_rows):
        rows = slice(start, start + num_rows)
        changes = [trim(b[rows] @ a, share.adapter, module, "BA", merge.density) for share, a, b in updates]
        merged[rows] = _elect(changes, [share.weight for share in shares], merge.majority_sign)
    return merged


def _elect(changes: Sequence[torch.Tensor], weights: Sequence[float], majority_sign: str) -> torch.Tensor:
    """Return `disjoint_merge` by `calculate_majority_sign_mask`, without masks.

    Turned by the elected sign, the values that agree with it are those above 0.
    """
    votes = changes if majority_sign == "total" else [change.sign() for change in changes]
    sign = torch.where(sum(votes[1:], votes[0]) >= 0, 1.0, -1.0)
    merged, num_kept = torch.zeros_like(sign), torch.zeros_like(sign)
    for change, weight in zip(changes, weights, strict=True):
        agreed = (change * sign).clamp_(min=0)
        merged.add_(agreed, alpha=weight)
        num_kept.add_(agreed.sign_())
    return merged.mul_(sign).div_(num_kept.clamp_(min=1))
