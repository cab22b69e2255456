"""Which of the rows that may be alike go: their likeness is computed, and of those that hang together one stays."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.near_duplicates.candidates import read_array
from eshop_ray.data.near_duplicates.components import flatten, unite
from eshop_ray.data.near_duplicates.equal import list_removed, write_removed
from eshop_ray.data.near_duplicates.lists import Lists, split_by_sum, to_offsets
from eshop_ray.data.near_duplicates.shingles import read_shingles
from eshop_ray.data.near_duplicates.signing import Job
from eshop_ray.data.near_duplicates.similar import find_similar
from eshop_ray.data.near_duplicates.staging import Part
from eshop_ray.exchange import Exchange, PartWriter
from eshop_ray.schema import Row

MEMBERS = pa.schema(
    [
        ("number", pa.int64()),
        ("label", pa.int64()),
        ("id", pa.string()),
        ("priority", pa.float64()),
        ("text", pa.large_string()),
        ("within", pa.uint64()),
    ]
)
SHINGLES_AT_ONCE = 1 << 21
"""Shingles that are compared at a time, a hundred bytes of memory each."""


def gather_part(job: Job, members: Exchange, item: Mapping[str, Any]) -> Row:
    """Send the rows of a part that may be alike to their bins, and return where they stand."""
    part = Part(**item)
    writer = PartWriter(members, part.name, lambda rows: rows["bin"].to_numpy())
    places, labels, bins = read_array(job.storage, member_path(part))
    for rows in job.read_texts(part):
        start = rows["number"][0].as_py() - part.start
        first, last = np.searchsorted(places, [start, start + len(rows)])
        chosen = rows.take(places[first:last] - start).append_column("label", [labels[first:last]])
        writer.add(chosen.append_column("bin", [bins[first:last]]))
    return {"members": writer.close()}


def member_path(part: Part) -> str:
    """Return where it is written which rows of a part are gathered: `[place in the part, label, bin]`."""
    return f"members/{part.name}.npy"


def judge_bins(job: Job, members: Exchange, item: Mapping[str, Any]) -> Row:
    """Write which rows of some bins go, and return how many.

    Of the rows that hang together by pairs of at least the threshold, the first by priority and id stays.
    """
    bins: list[int] = item["bins"]
    known = pa.concat_tables(members.read(one).drop_columns("text") for one in bins).combine_chunks()
    order = pc.sort_indices(known, [("priority", "ascending"), ("id", "ascending"), ("number", "ascending")])
    ranks = np.empty(len(known), np.int64)
    ranks[order.to_numpy()] = np.arange(len(known))
    parents, nearest = np.arange(len(known)), np.zeros(len(known))
    for shingles, labels, rows in _list_tiles(job.section, members, bins):
        edges = find_similar(shingles, labels, job.section.threshold)
        left, right = ranks[rows[edges.left]], ranks[rows[edges.right]]
        unite(parents, left, right)
        np.maximum.at(nearest, left, edges.similarity)
        np.maximum.at(nearest, right, edges.similarity)
    flatten(parents)
    by_rank = known.take(order)
    going = np.flatnonzero(parents != np.arange(len(parents)))
    removed = list_removed(by_rank.take(going), by_rank.take(parents[going]), nearest[going])
    write_removed(job.storage, item["path"], removed)
    return {"num_removed": len(removed), "num_compared": len(known)}


def _list_tiles(
    section: NearDuplicatesSection, members: Exchange, bins: list[int]
) -> Iterator[tuple[Lists, np.ndarray, np.ndarray]]:
    """Yield shingles, labels and places (through all bins) of rows to be compared with each other.

    Together they hold each pair of rows of one label: a label's rows are in one tile, or, where they are too many, in
    pieces of which every two make a tile.
    """

    @lru_cache(maxsize=2)
    def load(number: int) -> tuple[Lists, np.ndarray]:
        rows = members.read(bins[number])
        texts, within = rows["text"].combine_chunks(), rows["within"].to_numpy()
        return read_shingles(texts, within, section.unit, section.num_units), rows["label"].to_numpy()

    tiles: list[tuple[_Piece, ...]] = []
    pieces: dict[int, list[_Piece]] = {}
    start = 0
    for number in range(len(bins)):
        shingles, labels = load(number)
        for rows in _split_labels(shingles.sizes, labels):
            sizes = shingles.sizes[rows]
            if len(bins) == 1 and sizes.sum() <= SHINGLES_AT_ONCE:
                tiles.append((_Piece(number, start, rows),))
                continue
            own = pieces.setdefault(int(labels[rows[0]]), [])
            own += [_Piece(number, start, rows[part]) for part in split_by_sum(sizes, SHINGLES_AT_ONCE // 2)]
        start += len(labels)
    for own in pieces.values():
        tiles += itertools.combinations(own, 2)
    for tile in tiles:
        taken = [load(piece.number)[0].take(piece.rows) for piece in tile]
        values, sizes = (np.concatenate([getattr(one, name) for one in taken]) for name in ("values", "sizes"))
        labels = np.concatenate([load(piece.number)[1][piece.rows] for piece in tile])
        yield Lists(values, to_offsets(sizes)), labels, np.concatenate([piece.start + piece.rows for piece in tile])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of a bin that are compared as a whole."""

    number: int
    start: int
    """Place of the bin's first row among those of all bins."""
    rows: np.ndarray


def _split_labels(sizes: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows of whole labels, as many as are compared at a time; of a label with more, its rows alone."""
    if not len(labels):
        return
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], labels[order][1:] != labels[order][:-1]]))
    ends = np.concatenate([starts[1:], [len(labels)]])
    for part in split_by_sum(np.add.reduceat(sizes[order], starts), SHINGLES_AT_ONCE):
        yield order[starts[part.start] : ends[part.stop - 1]]
