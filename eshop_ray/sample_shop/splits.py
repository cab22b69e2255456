"""Which products training never sees, and which words are kept for them."""

from collections.abc import Mapping

SPLITS = ("train", "dev")

HELD_OUT_EVERY = 3
"""One product in so many is held out: nothing about it, and none of its wordings, stands in a training file."""

Wordings = Mapping[str, tuple[str, ...]]
"""Split -> phrases. What is said about held-out products is worded as no training row is."""


def find_split(number: int) -> str:
    """Return the split of product `number`, whatever the size of the shop."""
    return "dev" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train"


def take_turn(number: int) -> int:
    """Return the place of a product in a round that goes on from product to product of each split alike.

    The place settles what has to come up equally often, such as the position of a right answer.
    """
    return number // HELD_OUT_EVERY + number % HELD_OUT_EVERY
