"""One product out of all that a night keeps: rows, trouble, old versions, reports, what killed runs left behind."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.artifacts import write_json
from eshop_ray.config import Config
from eshop_ray.data.products import read_id
from eshop_ray.enrichment.nightly import STATISTICS, read_statistics
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.report import write_report
from eshop_ray.enrichment.run import name_run
from eshop_ray.enrichment.staging import clear_abandoned
from eshop_ray.enrichment.table import DataFile, Table, Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.errors import UserError

_DATA_FILE = re.compile(r"(?:task=([^/]+)/)?bucket=(\d+)/part-[0-9a-f]{32}\.parquet")

Mask = npt.NDArray[np.bool_]
"""Which rows of a table are meant."""


@dataclass(slots=True)
class Erased:
    """What was removed."""

    num_rows: int = 0
    """Of the enriched table."""
    num_quarantined: int = 0
    """Rows of the quarantine."""
    num_old_files: int = 0
    """Data files of earlier versions in which it may have stood."""
    num_examples: int = 0
    """Rows that the last report showed."""
    num_staging_folders: int = 0
    """What killed nights had left behind."""
    num_unknown_rows: int = 0
    """Rows that stay, and do not say who wrote the reviews that they were made from."""
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
    erased, run_id = Erased(), name_run("erase")
    quarantine, enriched = open_tables(config, erased)

    def find(rows: pa.Table) -> Mask:
        return to_mask(pc.equal(rows["product_id"], product_id))

    for table in (quarantine, enriched):
        writer = Writer(table, run_id)
        files = writer.files_of(bucket_of(product_id, writer.snapshot.num_buckets))
        gone = take_out(table, writer, files, find, run_id)
        erased.num_rows += len(gone) if table is enriched else 0
        erased.num_quarantined += len(gone) if table is quarantine else 0
        erased.num_old_files += delete_old(table, writer, [product_id])
    erased.num_examples = erase_examples(config.run_dir, lambda example: bool(example["product_id"] == product_id))
    erased.num_staging_folders = clear_abandoned(config.run_dir)
    return erased


def open_tables(config: Config, erased: Erased) -> tuple[Table, Table]:
    """Return quarantine and enriched table, and note tables of the first design beside them.

    Raises:
        UserError: if their storage cannot be read.
    """
    quarantine, enriched = quarantine_table(config.quarantine_uri), enriched_table(config.table_uri)
    for table, given in ((quarantine, config.quarantine_uri), (enriched, config.table_uri)):
        if table.uri != given:
            erased.former_tables.append(given)
    return quarantine, enriched


def to_mask(found: pa.ChunkedArray) -> Mask:
    """Return which rows a condition holds of; where it is null it does not."""
    mask: Mask = pc.fill_null(found, False).to_numpy()
    return mask


def take_out(
    table: Table, writer: Writer, files: Sequence[DataFile], find: Callable[[pa.Table], Mask], run_id: str
) -> list[tuple[str, str | None]]:
    """Write files anew without the rows that are found, by one commit.

    Returns:
        Product and task of each row that is gone.

    Raises:
        UserError: if a file is damaged, another run has started, or the storage refuses.
    """
    gone: list[tuple[str, str | None]] = []
    added: list[DataFile] = []
    removed: list[DataFile] = []
    for file in files:
        rows = table.read_file(file)
        is_found = find(rows)
        if not is_found.any():
            continue
        gone += [
            (row["product_id"], row["task"]) for row in rows.select(["product_id", "task"]).filter(is_found).to_pylist()
        ]
        kept = rows.filter(~is_found)
        removed.append(file)
        added += [table.write_rows(kept, file.partition, run_id)] if len(kept) else []
    writer.commit(added, removed)
    return gone


def list_old(table: Table, writer: Writer) -> Iterator[DataFile]:
    """Yield the data files that no commit holds any more; by their digest, so that nothing of others is among them."""
    live = {file.path for file in writer.files}
    for stored in list(table.storage.list()):
        match = _DATA_FILE.fullmatch(stored.path)
        if match is None or stored.path in live:
            continue
        file = DataFile(stored.path, stored.size, 0, 0, {"task": match[1] or "", "bucket": match[2]})
        if table.check_file(file) is None:
            yield file


def delete_old(table: Table, writer: Writer, products: Iterable[str]) -> int:
    """Delete old data files in which products may stand; return how many."""
    wanted = list(products)
    num_deleted = 0
    for file in list_old(table, writer):
        if any(bucket_of(product, file.num_buckets) == file.bucket for product in wanted):
            table.storage.delete(file.path)
            num_deleted += 1
    return num_deleted


def erase_examples(run_dir: Path, is_erased: Callable[[Mapping[str, Any]], bool]) -> int:
    """Take rows out of the last report; return how many of them were shown there."""
    stats = read_statistics(run_dir)
    if stats is None:
        return 0
    kept = [example for example in stats["examples"] if not is_erased(example)]
    if len(kept) < len(stats["examples"]):
        changed = {**stats, "examples": kept}
        write_json(run_dir / STATISTICS, changed)
        write_report(run_dir, changed)
    return len(stats["examples"]) - len(kept)
