"""One product out of all that a night keeps: rows, trouble, old versions, reports, what killed runs left behind."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from eshop_ray.artifacts import write_json
from eshop_ray.config import Config
from eshop_ray.data.products import read_id
from eshop_ray.enrichment.exchange import bucket_of
from eshop_ray.enrichment.nightly import STATISTICS, read_statistics
from eshop_ray.enrichment.report import write_report
from eshop_ray.enrichment.run import name_run
from eshop_ray.enrichment.table import DataFile, Table, Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.enrichment.workspace import clear_abandoned
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

_DATA_FILE = re.compile(r"(?:task=[^/]+/)?bucket=(\d+)/part-[0-9a-f]{32}\.parquet")


@dataclass(slots=True)
class Erased:
    """What was removed."""

    num_rows: int = 0
    """Of the enriched table."""
    num_quarantined: int = 0
    """Rows of the quarantine."""
    num_old_files: int = 0
    """Data files of earlier versions in which the product may have stood."""
    num_examples: int = 0
    """Rows that the last report showed."""
    num_staging_folders: int = 0
    """What killed nights had left behind."""
    former_tables: list[str] = field(default_factory=list)
    """Tables of the first design, which are never changed: to be deleted by hand."""


def erase_product(config: Config, product: str) -> Erased:
    """Remove what was derived from a product, from both tables and all their versions, reports and staging.

    Versions of the table from before cannot be read any more in the product's bucket.

    Args:
        config: `table.uri` and the run directory.
        product: Its id, as the catalogue writes it.

    Raises:
        UserError: if that is no id, there is no table, or its storage refuses.
    """
    product_id = read_id(product)
    if product_id is None:
        raise UserError(f"`{product[:100]}` is no id of a product")
    erased, name = Erased(), name_run("erase")
    quarantine, enriched = quarantine_table(config.quarantine_uri), enriched_table(config.table_uri)
    for table, given in ((quarantine, config.quarantine_uri), (enriched, config.table_uri)):
        if table.uri != given:
            erased.former_tables.append(given)
    erased.num_quarantined, num_old = _erase_from(quarantine, product_id, name)
    erased.num_rows, num_older = _erase_from(enriched, product_id, name)
    erased.num_old_files = num_old + num_older
    erased.num_examples = _erase_examples(config.run_dir, product_id)
    erased.num_staging_folders = clear_abandoned(config.run_dir)
    return erased


def _erase_from(table: Table, product_id: str, run_id: str) -> tuple[int, int]:
    """Return how many rows of a table, and old data files, are gone now."""
    writer = Writer(table, run_id)
    num_rows = 0
    added: list[DataFile] = []
    removed: list[DataFile] = []
    for file in writer.files_of(bucket_of(product_id, writer.snapshot.num_buckets)):
        rows = table.read_file(file)
        kept = rows.filter(pc.fill_null(pc.not_equal(rows["product_id"], product_id), True))
        if len(kept) < len(rows):
            num_rows += len(rows) - len(kept)
            removed.append(file)
            added += [table.write_rows(kept, file.partition, run_id)] if len(kept) else []
    writer.commit(added, removed)
    return num_rows, _delete_old(table, writer, product_id)


def _delete_old(table: Table, writer: Writer, product_id: str) -> int:
    """Delete data files that no commit holds any more and in which the product may stand; return how many."""
    live = {file.path for file in writer.files}
    num_deleted = 0
    for stored in list(table.storage.list()):
        match = _DATA_FILE.fullmatch(stored.path)
        if match is None or stored.path in live:
            continue
        file = DataFile(stored.path, stored.size, 0, 0, {"bucket": match[1]})
        is_of_product = bucket_of(product_id, file.num_buckets) == file.bucket
        if is_of_product and table.check_file(file) is None:  # by its digest: nothing of others is deleted
            table.storage.delete(stored.path)
            num_deleted += 1
    return num_deleted


def _erase_examples(run_dir: Path, product_id: str) -> int:
    """Take the product out of the last report; return how many of its rows were shown there."""
    stats = read_statistics(run_dir)
    if stats is None:
        return 0
    kept = [example for example in stats["examples"] if example["product_id"] != product_id]
    if len(kept) < len(stats["examples"]):
        changed = {**stats, "examples": kept}
        write_json(run_dir / STATISTICS, changed)
        write_report(run_dir, changed)
    return len(stats["examples"]) - len(kept)
