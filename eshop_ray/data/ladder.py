"""A ladder of training sizes: the rows of each size are among those of every larger one, so that curves compare sizes.

row's id --keyed by the seed--> its place in the order --the first n--> the rows of size n
"""

import hashlib
from collections.abc import Sequence

_PERSON = b"ladder"
"""Keeps the order apart from all others that are drawn by the same seed, such as that of held-out rows."""


def pick_rung(ids: Sequence[str], size: int | None, seed: int) -> list[int]:
    """Return which rows a size has.

    The choice depends on ids and seed alone: not on the rows' order, and a row more or less moves at most one other.

    Args:
        ids: Of the rows.
        size: How many to choose; None, or more than there are, chooses all.
        seed: Of the order.

    Returns:
        Places of the chosen rows, ascending.
    """
    order = sorted(range(len(ids)), key=lambda place: (_rank(ids[place], seed), ids[place]))
    return sorted(order[:size])


def _rank(row_id: str, seed: int) -> bytes:
    return hashlib.blake2b(row_id.encode(), digest_size=8, key=str(seed).encode(), person=_PERSON).digest()
