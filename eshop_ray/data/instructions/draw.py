"""Random choices that depend on what is chosen for and on nothing else: no worker, block or order has a say."""

import hashlib
import random


def make_draw(*key: object) -> random.Random:
    """Return a generator that the key determines, e.g. seed, recipe digest and row id."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))


def rank_of(*key: object) -> int:
    """Return the key's place in an order that it determines, of 63 bits."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


RANKS = 1 << 63
"""How many places `rank_of` knows."""
