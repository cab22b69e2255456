"""A Delta table whose every version holds one row per key: `Table` reads and writes files, `Writer` commits them."""

from eshop_ray.enrichment.table.datafile import DataFile
from eshop_ray.enrichment.table.maintenance import Maintenance, maintain
from eshop_ray.enrichment.table.snapshot import Snapshot
from eshop_ray.enrichment.table.storage import StorageError
from eshop_ray.enrichment.table.table import Table
from eshop_ray.enrichment.table.writer import Writer
from eshop_ray.enrichment.table.writer_epoch import TableSupersededError

__all__ = ["DataFile", "Maintenance", "Snapshot", "StorageError", "Table", "TableSupersededError", "Writer", "maintain"]
