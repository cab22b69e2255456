"""Thinning updates out: by magnitude (TIES, https://arxiv.org/abs/2306.01708) or by chance (DARE, 2311.03099)."""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from peft.utils.merge_utils import random_pruning

from eshop_ray.training.merging.adapters import AdapterFile

Part = Literal["A", "B", "BA"]
"""What of a module's update is thinned out: a factor as it was trained, or the change of the weight itself."""


def trim(values: torch.Tensor, adapter: AdapterFile, module: str, part: Part, density: float) -> torch.Tensor:
    """Set all but the largest to 0, as PEFT's `magnitude_based_pruning`, but the threshold is found only once.

    Args:
        values: All of `part`, or some of its rows.
        adapter: Whose update it is.
        module: Of the adapter.
        part: What `values` are.
        density: Share of the part's values that stay.
    """
    if density >= 1:
        return values
    return torch.nn.functional.hardshrink(values, find_threshold(adapter, module, part, density))


@functools.lru_cache(maxsize=1 << 16)
def find_threshold(adapter: AdapterFile, module: str, part: Part, density: float) -> float:
    """Return what the magnitude of a value must exceed to be among the share `density` of largest ones."""
    values = read_part(adapter, module, part).abs().reshape(-1).numpy()
    num_left_out = values.size - int(density * values.size)
    if num_left_out == values.size:
        return float("inf")
    smallest = np.partition(values, num_left_out)[num_left_out]  # several times as fast as PyTorch's kthvalue
    return float(np.nextafter(smallest, np.float32(0)))


def read_part(adapter: AdapterFile, module: str, part: Part) -> torch.Tensor:
    """Return A (r, in) or B (out, r) as trained, or the change of the weight (out, in)."""
    if part == "BA":
        factor_a, factor_b = adapter.read(module)
        return factor_b @ factor_a
    return adapter.read_factors(module)[0 if part == "A" else 1]


def drop(values: torch.Tensor, density: float) -> torch.Tensor:
    """Set values to 0 by chance and scale the others up by 1 / density, by PyTorch's own random numbers."""
    return values if density >= 1 else random_pruning(values, density, rescale=True)


@contextmanager
def seeded(seed: int, module: str) -> Iterator[None]:
    """Give a module random numbers of its own, whatever was drawn before; what is drawn after is as without it."""
    digest = hashlib.sha256(f"{seed} {module}".encode()).digest()
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield
