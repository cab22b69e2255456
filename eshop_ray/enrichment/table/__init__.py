"""The enriched table and the quarantine as Delta tables."""

from eshop_ray.enrichment.table.datafile import DataFile, partition_of
from eshop_ray.enrichment.table.staged import RUN_FOLDER
from eshop_ray.enrichment.table.table import LOG_FOLDER, POSITION, Snapshot, Table
from eshop_ray.enrichment.table.writer import TableSupersededError, Writer

__all__ = [
    "LOG_FOLDER",
    "POSITION",
    "RUN_FOLDER",
    "DataFile",
    "Snapshot",
    "Table",
    "TableSupersededError",
    "Writer",
    "partition_of",
]
