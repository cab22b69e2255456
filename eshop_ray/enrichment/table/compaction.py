"""Which files to merge, so that a table of many nights stays in few files and every row is rewritten a few times only.

Size-tiered: files of about the same number of rows are merged once there are eight of them, into one of the next
tier. A row climbs at most one tier per rewriting, so it is rewritten at most once per tier.
"""

from collections import defaultdict
from collections.abc import Sequence

from eshop_ray.enrichment.table.datafile import DataFile

TIER_FACTOR = 8
"""Files of one tier that are merged, and how much bigger the next tier's files are."""
SMALLEST_ROWS = 512
TARGET_ROWS = 100_000
TARGET_BYTES = 128 << 20
"""A file of this many live rows or bytes is merged no more."""
MAX_DELETED_SHARE = 0.25
"""A file with more deleted rows is rewritten without them."""

Group = tuple[DataFile, ...]


def plan_merges(files: Sequence[DataFile]) -> list[Group]:
    """Return the groups of files that should become one file each; no file is in two of them."""
    tiers: dict[int, list[DataFile]] = defaultdict(list)
    for file in files:
        if file.num_live < TARGET_ROWS and file.size < TARGET_BYTES:
            tiers[_tier(file.num_live)].append(file)
    groups = [group for tier in tiers.values() if len(tier) >= TIER_FACTOR for group in _pack(tier)]
    grouped = {file.path for group in groups for file in group}
    return groups + [(file,) for file in files if _is_sparse(file) and file.path not in grouped]


def _tier(num_rows: int) -> int:
    tier = 0
    while num_rows >= SMALLEST_ROWS * TIER_FACTOR**tier:
        tier += 1
    return tier


def _pack(tier: Sequence[DataFile]) -> list[Group]:
    """Cut a tier into groups that reach the target; what is left waits for more, unless it is all."""
    groups: list[Group] = []
    group: list[DataFile] = []
    num_rows = num_bytes = 0
    for file in tier:
        group.append(file)
        num_rows, num_bytes = num_rows + file.num_live, num_bytes + file.size
        if num_rows >= TARGET_ROWS or num_bytes >= TARGET_BYTES:
            groups.append(tuple(group))
            group, num_rows, num_bytes = [], 0, 0
    return groups or [tuple(group)]


def _is_sparse(file: DataFile) -> bool:
    return file.num_live > 0 and file.num_deleted > MAX_DELETED_SHARE * file.num_rows
