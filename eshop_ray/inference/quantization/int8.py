"""One weight matrix in int8: symmetric, a scale per output channel, each clipped where the rounding error is least."""

import math
from dataclasses import dataclass

import torch

LARGEST = 127
"""Of the integers; -128 is left out, so that the range is symmetric."""
CLIPS = tuple(1 - step / 100 for step in range(11))
"""Shares of a channel's largest value that become `LARGEST`; what is larger is cut. 1 cuts nothing; below 0.9
nothing was gained, whether values were normally distributed or had the tails of Student's t."""
MAX_VALUES = 1 << 18
"""Values that are worked on at a time: copies of a matrix of any size stay small, and in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A matrix `W` of shape (output, input) as `values * scales`."""

    values: torch.Tensor
    """int8, of the matrix's shape."""
    scales: torch.Tensor
    """Of shape (output, 1) and the matrix's dtype."""
    relative_error: float
    """Norm of the rounding error, as a share of the matrix's norm; 0 for a matrix of zeros."""


def quantize_int8(weight: torch.Tensor) -> Int8Weight:
    """Round a matrix of shape (output, input) to int8.

    The scales are rounded to the matrix's dtype before they are used, so that every reader computes with the numbers
    that were compared here.
    """
    rows = max(1, MAX_VALUES // max(1, weight.shape[1]))
    parts = [_quantize_rows(part.float(), weight.dtype) for part in weight.split(rows)]
    error = math.fsum(float(errors.sum(dtype=torch.float64)) for _, _, errors in parts)
    norm = math.fsum(float(part.float().square().sum(dtype=torch.float64)) for part in weight.split(rows))
    values, scales = (torch.cat([part[index] for part in parts]) for index in (0, 1))
    return Int8Weight(values.to(torch.int8), scales, math.sqrt(error / norm) if norm else 0.0)


def _quantize_rows(weight: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return values, scales and squared errors of the channels; each takes the clip that costs it least."""
    largest = weight.abs().amax(dim=1, keepdim=True)
    best, least = _round_scales(largest, dtype), torch.full_like(largest, torch.inf)
    for clip in CLIPS:
        scales = _round_scales(largest * clip, dtype)
        errors = _divide(weight, scales).mul_(scales).sub_(weight).square_().sum(dim=1, keepdim=True)
        is_better = errors < least
        best, least = torch.where(is_better, scales, best), torch.where(is_better, errors, least)
    return _divide(weight, best).to(torch.int8), best.to(dtype), least


def _round_scales(largest: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return scales as `dtype` holds them, in fp32; a channel without a scale that it can hold is one of zeros."""
    scales = (largest / LARGEST).to(dtype).float()
    return torch.where(scales > 0, scales, 1.0)


def _divide(weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (weight / scales).round_().clamp_(-LARGEST, LARGEST)
