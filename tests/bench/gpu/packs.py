"""Random rows that share beginnings, and packs of them."""

import numpy as np

from eshop_ray.training.packing.pack import TokenRow, build_pack


def draw_rows(groups, vocabulary, seed=0):
    """Return rows and the number of each one's group.

    `groups` holds, for each, tokens that all rows share, rows, own prompt tokens and answer tokens of a row, both at
    most.
    """
    draw = np.random.default_rng(seed)
    rows, numbers = [], []
    for number, (num_shared, num_rows, num_own, num_answer) in enumerate(groups):
        shared = draw.integers(0, vocabulary, num_shared).tolist()
        for index in range(num_rows):
            own, answer = (
                draw.integers(0, vocabulary, draw.integers(limit // 2, limit + 1)).tolist()
                for limit in (num_own, num_answer)
            )
            rows.append(TokenRow(f"{number}-{index}", "random", [*shared, index, *own], answer))
            numbers.append(number)
    return rows, numbers


def draw_pack(groups, vocabulary, seed=0):
    """Return all rows of the groups as one pack."""
    return build_pack(*draw_rows(groups, vocabulary, seed))
