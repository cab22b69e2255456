"""What keeps a table quick to read after many nights."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eshop_ray.enrichment.table.compaction import Group, plan_merges
from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.table import Table
from eshop_ray.enrichment.table.vacuum import vacuum
from eshop_ray.enrichment.table.writer import Writer

logger = logging.getLogger(__name__)

CompactAll = Callable[[Sequence[Group]], Iterable[DataFile]]
"""Groups of files -> one merged file each, in order: `Table.merge`, perhaps in Ray tasks."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What maintenance did."""

    num_compacted_files: int
    num_deleted_files: int


def maintain(table: Table, writer: Writer, compact_all: CompactAll, retention_hours: float) -> Maintenance:
    """Merge small and sparse files, then delete what no version of the last hours needs.

    Every merge is a commit of its own, so a kill costs one of them. Paths that were known before a merge are not
    known to the writer after it.

    Raises:
        TableSupersededError: if another run has started.
        UserError: if another program changed the table, or its storage refuses.
    """
    num_merged = 0
    while groups := plan_merges(writer.files):
        for group, merged in zip(groups, compact_all(groups), strict=True):
            writer.replace(group, merged)
            num_merged += len(group)
    num_deleted = vacuum(table, writer, retention_hours)
    logger.info("table %s: compacted %d files, deleted %d", table.storage.shown, num_merged, num_deleted)
    return Maintenance(num_merged, num_deleted)
