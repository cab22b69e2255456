"""From which rank on rows of a sub-task are too many: found block by block, with no more in memory than decides it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.data.instructions.candidates import PASSED_ON
from eshop_ray.data.instructions.plan import Plan

RANKED_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("split", pa.string()),
        ("made", pa.string()),
        ("is_passed", pa.bool_()),
        ("rank", pa.int64()),
        ("number", pa.int64()),
    ]
)
"""Ranks of rows, of each (sub-task, split, kind of a teacher's row or "") as many as decide about its limits. `number`
is how many rows one stands for, where their ranks do not matter."""
_KEY = ("group", "split", "made")


@dataclass(frozen=True, slots=True)
class Limits:
    """The rank in each (sub-task, split) from which on rows are too many; rows passed on have limits of their own."""

    limits: Mapping[tuple[str, str], int]
    passed_on: Mapping[tuple[str, str], int]
    made: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The rank in each (sub-task, kind of row) from which on rows of a teacher are too many."""


def rank_rows(table: pa.Table, plan: Plan) -> pa.Table:
    """Return columns of `RANKED_SCHEMA` of a block.

    Args:
        table: `group`, `split`, `route`, `made` and `rank` of rows that stay so far.
        plan: The quotas.
    """
    columns = {
        "group": table["group"],
        "split": table["split"],
        "made": pc.fill_null(table["made"].cast(pa.string()), ""),
        "is_passed": pc.equal(table["route"], PASSED_ON),
        "rank": table["rank"],
        "number": pa.array(np.ones(len(table), np.int64)),
    }
    return _trim(pa.table(columns, schema=RANKED_SCHEMA), plan)


def find_limits(blocks: Iterable[pa.Table], plan: Plan) -> Limits:
    """Return the limits that hold quotas, and the share of rows that are passed on.

    Args:
        blocks: Of `rank_rows`, in any order.
        plan: The quotas.
    """
    ranked = RANKED_SCHEMA.empty_table()
    for block in blocks:
        ranked = _trim(pa.concat_tables([ranked, block]), plan)
    limits: dict[tuple[str, str], int] = {}
    made_limits: dict[tuple[str, str], int] = {}
    passed: dict[tuple[str, str], np.ndarray] = {}
    num_others = 0
    for (group, split, made), own in _part(ranked):
        quota = _find_quota(plan, group, split, made)
        own = own.sort_by("rank")
        limit = own["rank"][quota].as_py() if quota is not None and len(own) > quota else None
        if made:
            made_limits.update({} if limit is None else {(group, made): limit})
            continue
        limits.update({} if limit is None else {(group, split): limit})
        own = own[:quota]
        is_passed = own["is_passed"].to_numpy()
        passed[group, split] = own["rank"].to_numpy()[is_passed]
        num_others += int(own["number"].to_numpy()[~is_passed].sum())
    return Limits(limits, {**limits, **_limit_passed_on(passed, num_others, plan.max_passed_on_share)}, made_limits)


def _trim(ranked: pa.Table, plan: Plan) -> pa.Table:
    """Return the first ranks of each key, one more than its quota; where there is none, the others than those passed on
    in one row.
    """
    parts = [RANKED_SCHEMA.empty_table()]
    for key, own in _part(ranked):
        quota = _find_quota(plan, *key)
        if quota is None:
            parts += _sum_others(own)
        elif len(own) > quota + 1:
            parts.append(own.take(np.argpartition(own["rank"].to_numpy(), quota)[: quota + 1]))
        else:
            parts.append(own)
    return pa.concat_tables(parts).combine_chunks()


def _part(ranked: pa.Table) -> list[tuple[tuple[str, str, str], pa.Table]]:
    """Return each key with its rows, in the order of keys."""
    keys = sorted(tuple(row[name] for name in _KEY) for row in ranked.group_by(_KEY).aggregate([]).to_pylist())
    found = []
    for key in keys:
        matches = (pc.equal(ranked[name], value) for name, value in zip(_KEY, key, strict=True))
        found.append((key, ranked.filter(pc.and_(pc.and_(next(matches), next(matches)), next(matches)))))
    return found


def _sum_others(own: pa.Table) -> list[pa.Table]:
    others = own.filter(pc.invert(own["is_passed"]))
    passed = own.filter(own["is_passed"])
    if not len(others):
        return [passed]
    number = pa.array([pc.sum(others["number"]).as_py()], pa.int64())
    return [passed, others[:1].set_column(RANKED_SCHEMA.get_field_index("number"), "number", number)]


def _find_quota(plan: Plan, group: str, split: str, made: str) -> int | None:
    if not made:
        return plan.limit_of(group, split)
    quotas: Mapping[str, int] = getattr(plan.teacher, made)
    return quotas[group]


def _limit_passed_on(
    passed: Mapping[tuple[str, str], np.ndarray], num_others: int, max_share: float
) -> dict[tuple[str, str], int]:
    """Return lower limits of the rows passed on, each sub-task giving up as large a share, if they are too many.

    Args:
        passed: (sub-task, split) -> ranks of those that its quota allows, the first ones first.
        num_others: Rows that are not passed on.
        max_share: Of all rows, that may be.
    """
    num_passed = sum(map(len, passed.values()))
    most = num_others * max_share / (1 - max_share) if max_share < 1 else np.inf
    if num_passed <= most:
        return {}
    share = most / num_passed
    kept = {key: int(len(ranks) * share) for key, ranks in passed.items()}
    return {key: int(ranks[kept[key]]) for key, ranks in passed.items() if kept[key] < len(ranks)}
