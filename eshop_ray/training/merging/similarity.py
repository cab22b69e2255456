"""How alike adapters are: the cosine between their weight updates."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from eshop_ray.training.merging.adapters import AdapterFile, list_modules


def measure_similarity(adapters: Sequence[AdapterFile]) -> dict[str, Any]:
    """Compare every pair of adapters, module by module and over all modules.

    The inner product of two updates is <B1 A1, B2 A2> = sum((B1^T B2) * (A1 A2^T)): products of factors, no dense
    matrix. A module that an adapter leaves alone counts as an update of 0, and 0 is like nothing: its cosines are 0.

    Args:
        adapters: Of one base.

    Returns:
        `{"adapters": names, "overall": cosines, "modules": {module: cosines}}`; `cosines[i][j]` is that of adapters
        i and j, from -1 to 1.
    """
    products = dict(_iter_products(adapters))
    total = torch.zeros(len(adapters), len(adapters), dtype=torch.float64)
    return {
        "adapters": [adapter.name for adapter in adapters],
        "overall": _normalize(sum(products.values(), total)),
        "modules": {module: _normalize(product) for module, product in products.items()},
    }


def _iter_products(adapters: Sequence[AdapterFile]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every module with the inner products (n, n) of the adapters' updates."""
    for module in list_modules(adapters):
        found = [number for number, adapter in enumerate(adapters) if adapter.has(module)]
        updates = [[factor.double() for factor in adapters[number].read(module)] for number in found]
        products = torch.zeros(len(adapters), len(adapters), dtype=torch.float64)
        for row, (a1, b1) in zip(found, updates, strict=True):
            for column, (a2, b2) in zip(found, updates, strict=True):
                if row <= column:
                    products[row, column] = products[column, row] = ((b1.T @ b2) * (a1 @ a2.T)).sum()
        yield module, products


def _normalize(products: torch.Tensor) -> list[list[float]]:
    norms = products.diagonal().clamp(min=0).sqrt()
    scale = norms[:, None] * norms
    cosines = torch.where(scale > 0, products / scale, torch.zeros_like(scale))
    return [[round(value, 6) for value in row] for row in cosines.clamp(-1, 1).tolist()]
