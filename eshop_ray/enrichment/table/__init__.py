"""A Delta table whose every version holds one row per key: `Table` reads and writes files, `Writer` commits them."""

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.fence import TableTaken
from eshop_ray.enrichment.table.maintenance import Upkeep, maintain
from eshop_ray.enrichment.table.snapshot import Snapshot
from eshop_ray.enrichment.table.storage import StorageError
from eshop_ray.enrichment.table.table import Table
from eshop_ray.enrichment.table.writer import Writer

__all__ = ["DataFile", "Snapshot", "StorageError", "Table", "TableTaken", "Upkeep", "Writer", "maintain"]
