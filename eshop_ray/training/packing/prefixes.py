"""Which rows share the beginning of their prompts, found once for a whole training set.

Not only the instruction: rows in free formats share long beginnings too, some of them more than others. Prompts are
compared by hashes of their first tokens at a ladder of depths, which make a tree: a node's rows begin alike. Each node
may be one group, whose shared part is computed once a batch, or leave its rows to the nodes below. What saves more
is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eshop_ray.training.packing.bin_packing import Ints

Hashes = npt.NDArray[np.uint64]
Prompts = tuple[npt.NDArray[np.int32], Ints]
"""Tokens of several prompts behind each other, and where each begins, with the end: row `i` is
`tokens[offsets[i] : offsets[i + 1]]`."""
ReadPrompts = Callable[[Ints], Prompts]
"""Row numbers -> their prompts."""

CHUNK_TOKENS = 2**21
"""Prompt tokens in memory at a time."""
RARE = 0.25
"""A beginning that fewer rows than this of a batch have, on average, is not worth a group."""
MAX_ROUNDS = 8
"""How often the rows left over are grouped anew."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Shape (N,): row `i` belongs to group `groups[i]`, whose rows all begin with the same `lengths[i]` tokens."""

    groups: Ints
    lengths: Ints
    """At least one token less than the row's prompt; 0 for a row that shares nothing."""


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one depth that enough rows pass through."""

    depth: int
    rows: Ints
    """Rows in any of the nodes."""
    nodes: Ints
    """Node of each of these rows."""
    counts: Ints
    """Rows of each node."""


def find_prefixes(read_prompts: ReadPrompts, lengths: Ints, batch_size: int) -> Prefixes:
    """Group rows so that sharing saves most, a batch of them being computed at a time.

    Args:
        read_prompts: Gives the prompts of rows 0..N-1.
        lengths: Tokens of each prompt, (N,).
        batch_size: Rows that meet in one step.

    Returns:
        The groups, numbered by their first rows. The shared lengths are exact: longest common beginnings, token by
        token.
    """
    num_rows = len(lengths)
    batch_size = min(batch_size, max(1, num_rows))
    groups, depths = np.full(num_rows, -1, dtype=np.int64), np.zeros(num_rows, dtype=np.int64)
    ladder = _build_ladder(int(lengths.max(initial=0)) - 1)
    hashes = _hash_prompts(read_prompts, lengths, ladder)
    for _ in range(MAX_ROUNDS):
        left = np.flatnonzero(groups < 0)
        levels = _find_levels(hashes, lengths, ladder, left, batch_size)
        if not levels:
            break
        _choose(levels, groups, depths, batch_size / num_rows, batch_size)
    alone = np.flatnonzero(groups < 0)
    groups[alone] = groups.max(initial=-1) + 1 + np.arange(len(alone))
    groups = _number_by_first(groups)
    return Prefixes(groups, _extend(read_prompts, lengths, groups, depths))


def _build_ladder(longest: int) -> list[int]:
    """Return the depths to compare at: 4, 6, 8, 12, 16, 24, ... up to the longest shared part there can be."""
    steps = (size for power in range(2, 40) for size in (2**power, 3 * 2 ** (power - 1)))
    return [depth for depth in steps if depth <= longest]


def _hash_prompts(read_prompts: ReadPrompts, lengths: Ints, ladder: list[int]) -> Hashes:
    """Return the hash of each prompt's first tokens at every depth, (depths, N); 0 where the prompt is too short.

    The hash is a sum of pseudo-random numbers, one for each pair of token and position, mod 2^64: one running sum over
    all tokens gives the hashes of all beginnings.
    """
    hashes = np.zeros((len(ladder), len(lengths)), dtype=np.uint64)
    for chunk in _iterate_chunks(np.arange(len(lengths)), lengths):
        tokens, offsets = read_prompts(chunk)
        positions = np.arange(len(tokens), dtype=np.uint64) - np.repeat(offsets[:-1], np.diff(offsets)).astype(
            np.uint64
        )
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_scramble(tokens.astype(np.uint64), positions))])
        for level, depth in enumerate(ladder):
            deep = lengths[chunk] > depth
            start = offsets[:-1][deep]
            hashes[level, chunk[deep]] = sums[start + depth] - sums[start]
    return hashes


def _scramble(tokens: Hashes, positions: Hashes) -> Hashes:
    """Return a pseudo-random number for each token at its position (the finaliser of SplitMix64)."""
    mixed: Hashes = tokens * np.uint64(0x9E3779B97F4A7C15) + positions * np.uint64(0xD1B54A32D192ED03)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _find_levels(hashes: Hashes, lengths: Ints, ladder: list[int], rows: Ints, batch_size: int) -> list[_Level]:
    """Walk down the tree as far as enough rows share a node, from the shallowest depth to the deepest."""
    least = max(2, int(np.ceil(RARE * len(lengths) / batch_size)))
    levels = []
    for level, depth in enumerate(ladder):
        rows = rows[lengths[rows] > depth]
        _, nodes, counts = np.unique(hashes[level, rows], return_inverse=True, return_counts=True)
        kept = counts >= least
        rows, nodes = rows[kept[nodes]], (np.cumsum(kept) - 1)[nodes[kept[nodes]]]
        if not len(rows):
            break
        levels.append(_Level(depth, rows, nodes, counts[kept]))
    return levels


def _choose(levels: list[_Level], groups: Ints, depths: Ints, density: float, batch_size: int) -> None:
    """Write group and depth of every row that a chosen node holds; `density` is batch size / rows."""
    is_group: list[npt.NDArray[np.bool_]] = []
    below = np.zeros(0)
    for level, lower in zip(reversed(levels), [None, *reversed(levels[1:])], strict=True):
        savings = level.depth * _expect_repeats(level.counts * density, batch_size)
        best_below = np.zeros(len(level.counts))
        if lower is not None:
            node_of_row = np.zeros(len(groups), dtype=np.int64)
            node_of_row[level.rows] = level.nodes
            _, first = np.unique(lower.nodes, return_index=True)
            np.add.at(best_below, node_of_row[lower.rows[first]], below)
        is_group.append((savings >= best_below) & (savings > 0))
        below = np.maximum(savings, best_below)
    next_group = int(groups.max(initial=-1)) + 1
    for level, chosen in zip(levels, reversed(is_group), strict=True):
        taken = chosen[level.nodes] & (groups[level.rows] < 0)
        groups[level.rows[taken]] = next_group + level.nodes[taken]
        depths[level.rows[taken]] = level.depth
        next_group += len(level.counts)


def _expect_repeats(rows: npt.NDArray[np.floating[Any]], batch_size: int) -> npt.NDArray[np.float64]:
    """Return how many rows of a batch find their node there already, if `rows` of the batch are in it on average."""
    share = np.minimum(rows / batch_size, 1.0)
    repeats: npt.NDArray[np.float64] = rows - (1 - (1 - share) ** batch_size)
    return repeats


def _number_by_first(groups: Ints) -> Ints:
    """Number groups in the order of their first rows."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers: Ints = rank[inverse]
    return numbers


def _extend(read_prompts: ReadPrompts, lengths: Ints, groups: Ints, depths: Ints) -> Ints:
    """Return each row's exact shared length: the least, over its group, of what a row has in common with the first.

    A row alone in its group shares nothing.
    """
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    shared = np.full(len(counts), np.iinfo(np.int64).max)
    np.minimum.at(shared, groups, np.maximum(lengths - 1, 0))
    shared[counts == 1] = 0
    shared[depths[first] == 0] = 0
    several = np.flatnonzero(shared > 0)
    if not len(several):
        return shared[groups]
    heads, head_offsets = read_prompts(first[several])
    head_start = np.zeros(len(counts), dtype=np.int64)
    head_start[several] = head_offsets[:-1]
    for chunk in _iterate_chunks(np.flatnonzero(shared[groups] > 0), lengths):
        tokens, offsets = read_prompts(chunk)
        of_chunk = groups[chunk]
        limit = shared[of_chunk]
        owner = np.repeat(np.arange(len(chunk)), limit)
        position = np.arange(len(owner)) - np.repeat(np.cumsum(limit) - limit, limit)
        differs = tokens[offsets[owner] + position] != heads[head_start[of_chunk[owner]] + position]
        np.minimum.at(shared, of_chunk[owner[differs]], position[differs])
    return shared[groups]


def _iterate_chunks(rows: Ints, lengths: Ints) -> Iterator[Ints]:
    """Yield rows, as many as make up a chunk of tokens."""
    numbers = np.cumsum(lengths[rows]) // CHUNK_TOKENS
    yield from np.split(rows, np.flatnonzero(np.diff(numbers)) + 1) if len(rows) else []
