"""Which candidates stay: none twice, none on both sides of a split, and of each sub-task as many as its quota."""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.candidates import PASSED_ON
from eshop_ray.data.instructions.draw import RANKS
from eshop_ray.data.instructions.limits import Limits
from eshop_ray.schema import Row

REPEATED = "asked twice"
CROSSING = "its product or query is in an evaluation split"
OVER_QUOTA = "over the quota"
PASSED_OVER = "more rows would be passed on than the recipe allows"
REMOVED_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "group", "split", "source", "reason")])


def mark_repeats(table: pa.Table) -> pa.Table:
    """Mark all but one of the rows that ask the same; a row of an evaluation split wins over one to learn from."""
    rows = table.select(["content", "split", "rank", "id", "removed"]).to_pylist()
    order = sorted(
        (place for place, row in enumerate(rows) if row["removed"] is None),
        key=lambda place: (rows[place]["split"] == TRAIN, rows[place]["rank"], rows[place]["id"]),
    )
    seen: set[str] = set()
    for place in order:
        if rows[place]["content"] in seen:
            rows[place]["removed"] = REPEATED
        seen.add(rows[place]["content"])
    return set_removed(table, [row["removed"] for row in rows])


def mark_crossing(table: pa.Table, held: Collection[str]) -> pa.Table:
    """Mark rows to learn from that speak of a product or query which a row of an evaluation split speaks of."""
    columns = (table[name].to_pylist() for name in ("split", "keys", "removed"))
    return set_removed(
        table,
        [
            CROSSING if not removed and split == TRAIN and not held.isdisjoint(keys or ()) else removed  # type: ignore[attr-defined]
            for split, keys, removed in zip(*columns, strict=True)
        ],
    )


def mark_surplus(table: pa.Table, limits: Limits) -> pa.Table:
    """Mark rows beyond the quota of their sub-task, and those passed on beyond the share of all that they may be."""
    rows = table.select(["group", "split", "route", "made", "rank", "removed"]).to_pylist()
    return set_removed(table, [row["removed"] or _find_surplus(limits, row) for row in rows])


def _find_surplus(limits: Limits, row: Row) -> str | None:
    key = row["group"], row["split"]
    if row["made"] is not None:
        limit = limits.made.get((row["group"], row["made"]), RANKS)
    else:
        limit = limits.limits.get(key, RANKS)
    if row["rank"] >= limit:
        return OVER_QUOTA
    return PASSED_OVER if row["route"] == PASSED_ON and row["rank"] >= limits.passed_on.get(key, RANKS) else None


def set_removed(table: pa.Table, removed: Sequence[str | None]) -> pa.Table:
    """Return a table with another column `removed`."""
    place = table.column_names.index("removed")
    return table.set_column(place, "removed", pa.array(removed, pa.string()))


def select_kept(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return some columns of the rows that are not marked."""
    return table.filter(pc.is_null(table["removed"])).select(list(columns))


def select_removed(table: pa.Table) -> pa.Table:
    """Return columns of `REMOVED_SCHEMA` of the rows that are marked, those beyond a quota apart: nothing is wrong with
    them.
    """
    is_surplus = pc.is_in(table["removed"], pa.array([OVER_QUOTA, PASSED_OVER]))
    gone = table.filter(pc.and_(pc.is_valid(table["removed"]), pc.invert(is_surplus)))
    return gone.select(["id", "group", "split", "source", "removed"]).rename_columns([*REMOVED_SCHEMA.names])
