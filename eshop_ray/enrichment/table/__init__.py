"""The enriched table and the quarantine as Delta tables."""

from eshop_ray.enrichment.table.datafile import DataFile, partition_of
from eshop_ray.enrichment.table.log_damage import LOG_FOLDER, LogDamage, find_log_damage, set_aside
from eshop_ray.enrichment.table.staged import RUN_FOLDER
from eshop_ray.enrichment.table.table import POSITION, Snapshot, Table
from eshop_ray.enrichment.table.writer import TableSupersededError, Writer

__all__ = [
    "LOG_FOLDER",
    "POSITION",
    "RUN_FOLDER",
    "DataFile",
    "LogDamage",
    "Snapshot",
    "Table",
    "TableSupersededError",
    "Writer",
    "find_log_damage",
    "partition_of",
    "set_aside",
]
