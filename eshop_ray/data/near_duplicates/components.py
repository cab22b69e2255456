"""Which rows hang together: union-find over numbered rows, many edges at a time."""

import numpy as np

Parents = np.ndarray
"""Integers, one a row: a row of its set with a smaller number, or the row itself."""


def find_roots(parents: Parents, rows: np.ndarray) -> np.ndarray:
    """Return the smallest row of each row's set."""
    roots: np.ndarray = parents[rows]
    while True:
        above = parents[roots]
        if np.array_equal(above, roots):
            return roots
        roots = above


def unite(parents: Parents, left: np.ndarray, right: np.ndarray) -> None:
    """Make one set of the two that the ends of each edge are in, in place; a set is known by its smallest row."""
    while len(left):
        left, right = find_roots(parents, left), find_roots(parents, right)
        apart = left != right
        low, high = np.minimum(left, right)[apart], np.maximum(left, right)[apart]
        np.minimum.at(parents, high, low)
        left, right = low, high


def flatten(parents: Parents) -> None:
    """Have every row point to the smallest row of its set, in place."""
    while True:
        above = parents[parents]
        if np.array_equal(above, parents):
            return
        parents[:] = above
