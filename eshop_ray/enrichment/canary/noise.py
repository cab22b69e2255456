"""What a sample shows beyond its own noise; with few rows hardly anything."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

CHANCE = 1e-4
"""How often a check may find something where nothing has changed."""
_NUM_DRAWS = 10_000
"""Of which none may reach what is to be found: `CHANCE`."""
_BLOCK_DRAWS = 1_000
_SEED = 20_261_127


def is_above(num_hits: int, num_rows: int, share: float) -> bool:
    """Whether so many hits among so many rows tell that their true share is above `share`."""
    return num_rows > 0 and num_hits > share * num_rows and _get_upper_tail(num_hits, num_rows, share) < CHANCE


def find_median_bounds(values: Sequence[int]) -> tuple[float, float]:
    """Return what the true median lies between, as far as a sample tells; infinite where it is too small."""
    ordered = sorted(values)
    rank, tail = 0, _get_probability(0, len(ordered), 0.5)
    while rank < len(ordered) // 2 and tail < CHANCE / 2:  # so few of them are below the median by chance
        rank += 1
        tail += _get_probability(rank, len(ordered), 0.5)
    return (ordered[rank - 1], ordered[-rank]) if rank else (-math.inf, math.inf)


def get_distance(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Return the total variation distance of two distributions of counts: the share that stands elsewhere, 0 to 1."""
    numbers = _align(first, second)
    return _distance(numbers[0], numbers[1])


def is_another_mix(first: Mapping[str, int], second: Mapping[str, int]) -> bool:
    """Whether two samples are further apart than samples of one distribution come to be."""
    numbers = _align(first, second)
    found, sizes, pooled = _distance(numbers[0], numbers[1]), numbers.sum(1), numbers.sum(0) / numbers.sum()
    chance = np.random.default_rng(_SEED)
    for _ in range(0, _NUM_DRAWS, _BLOCK_DRAWS):
        drawn = [chance.multinomial(size, pooled, _BLOCK_DRAWS) / size for size in sizes]
        if (np.abs(drawn[0] - drawn[1]).sum(1) / 2 >= found).any():
            return False
    return True


def _align(first: Mapping[str, int], second: Mapping[str, int]) -> np.ndarray:
    names = sorted({*first, *second})
    return np.array([[counts.get(name, 0) for name in names] for counts in (first, second)])


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def _get_upper_tail(num_hits: int, num_rows: int, share: float) -> float:
    """Return the probability of at least so many hits, each row being one with this probability."""
    if share <= 0 or share >= 1:
        return 0.0 if share <= 0 else 1.0
    return math.fsum(_get_probability(hits, num_rows, share) for hits in range(num_hits, num_rows + 1))


def _get_probability(num_hits: int, num_rows: int, share: float) -> float:
    ways = math.lgamma(num_rows + 1) - math.lgamma(num_hits + 1) - math.lgamma(num_rows - num_hits + 1)
    return math.exp(ways + num_hits * math.log(share) + (num_rows - num_hits) * math.log1p(-share))
