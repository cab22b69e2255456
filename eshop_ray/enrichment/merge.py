"""Results of one bucket into both tables: rows that they replace give way, all others are taken along as they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.enrichment.placing import place_values
from eshop_ray.enrichment.questions import QUARANTINED
from eshop_ray.enrichment.table import DataFile, Table, partition_of
from eshop_ray.exchange import Exchange
from eshop_ray.schema import Row

ENRICHED_RESULTS = pa.schema([*(one for one in ENRICHED_SCHEMA if one.name != "bucket"), ("replaces", pa.bool_())])
"""A row for the enriched table; `replaces`: the table has one of its product and task."""

BAD_RESULTS = pa.schema([one for one in QUARANTINE_SCHEMA if one.name != "bucket"])
"""A row for the quarantine; without a `reason`, the row of its `fingerprint` leaves."""

PREDICTION_COLUMNS = (
    *("prediction", "text", "entities", "prediction_key", "prompt_id", "task_version", "model_digest", "run_id"),
    *("num_input_tokens", "num_generated_tokens", "inferred_at", "reviewers", "confidence"),
)
"""What is said of a prediction, and stays with it."""

MAX_FILES = 8
"""Files of a partition above which they are put together, even where no row gives way."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Puts results into tables; picklable."""

    enriched: Table
    quarantine: Table
    results: Exchange
    """Rows of `ENRICHED_RESULTS`."""
    bad: Exchange
    """Rows of `BAD_RESULTS`."""
    run_id: str

    def merge_bucket(self, item: Row) -> Row:
        """Write the files of a bucket anew.

        Args:
            item: `bucket`; `files` and `bad_files`, those of both tables that hold it; `parts` and `bad_parts`, names
                of what is to be put into them.

        Returns:
            `added`, `removed`, `bad_added` and `bad_removed`: files of both tables.

        Raises:
            UserError: if a file is damaged, or the storage refuses.
        """
        bucket = item["bucket"]
        rows = _take(self.results, item["parts"], bucket)
        files = [DataFile.from_row(row) for row in item["files"]]
        added: list[DataFile] = []
        removed: list[DataFile] = []
        for task in pc.unique(rows["task"]).to_pylist():
            new = rows.filter(pc.equal(rows["task"], task))
            current = [file for file in files if file.task == task]
            if pc.any(new["replaces"]).as_py() or len(current) >= MAX_FILES:
                new = upsert(self.enriched, current, new, "product_id")
                removed += current
            partition = partition_of(bucket, self.results.num_buckets, task)
            added.append(self.enriched.write_rows(new, partition, self.run_id))
        bad_added, bad_removed = self._merge_bad(item)
        return {
            "added": _to_rows(added),
            "removed": _to_rows(removed),
            "bad_added": _to_rows(bad_added),
            "bad_removed": _to_rows(bad_removed),
        }

    def _merge_bad(self, item: Row) -> tuple[list[DataFile], list[DataFile]]:
        rows = _take(self.bad, item["bad_parts"], item["bucket"])
        if not len(rows):
            return [], []
        current = [DataFile.from_row(row) for row in item["bad_files"]]
        new = upsert(self.quarantine, current, rows, "fingerprint")
        new = new.filter(pc.is_valid(new["reason"]))
        partition = partition_of(item["bucket"], self.bad.num_buckets)
        return [self.quarantine.write_rows(new, partition, self.run_id)] if len(new) else [], current


def upsert(table: Table, files: Sequence[DataFile], rows: pa.Table, key: str) -> pa.Table:
    """Return the rows of some files and new ones, which take the place of those with the same key."""
    names = [name for name in table.schema.names if name in rows.schema.names]
    new = rows.select(names)
    kept = [table.read_file(file, names).select(names) for file in files]
    is_replaced = [pc.is_in(old[key], new[key].combine_chunks()) for old in kept]
    if "prediction" in names:
        replaced = [old.filter(mask) for old, mask in zip(kept, is_replaced, strict=True)]
        new = keep_predictions(pa.concat_tables([new.slice(0, 0), *replaced]), new)
    kept = [old.filter(pc.invert(mask)) for old, mask in zip(kept, is_replaced, strict=True)]
    return pa.concat_tables([*kept, new]).sort_by(key)


def keep_predictions(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return new rows; those in trouble have the prediction of the old row of their product, and what goes with it."""
    in_trouble = pc.and_(pc.equal(new["status"], QUARANTINED), pc.is_null(new["prediction_key"]))
    troubled = new.filter(in_trouble)
    answered = old.filter(pc.is_valid(old["prediction_key"]))
    if not len(troubled) or not len(answered):
        return new
    known = {row["product_id"]: {name: row[name] for name in PREDICTION_COLUMNS} for row in answered.to_pylist()}
    filled = [{**row, **known.get(row["product_id"], {})} for row in troubled.to_pylist()]
    return pa.concat_tables([new.filter(pc.invert(in_trouble)), pa.Table.from_pylist(filled, new.schema)])


def compact(item: Row, table: Table, run_id: str) -> Row:
    """Write the `files` of one partition as one, and return it as `file`."""
    files = [DataFile.from_row(row) for row in item["files"]]
    rows = pa.concat_tables([table.read_file(file) for file in files]).sort_by(table.schema.names[0])
    return {"file": table.write_rows(rows, files[0].partition, run_id).to_row(), "files": item["files"]}


def divide(item: Row, table: Table, owners: Sequence[str], num_buckets: int, run_id: str) -> Row:
    """Write the `files` of one partition as files of smaller or larger buckets.

    Args:
        item: `files`.
        table: Theirs.
        owners: Columns of which the first that is not null places a row.
        num_buckets: How many there are to be.
        run_id: Whose files these are until they are committed.

    Returns:
        `added` and `removed`.
    """
    files = [DataFile.from_row(row) for row in item["files"]]
    rows = pa.concat_tables([table.read_file(file) for file in files])
    buckets = place_values([rows[name] for name in owners], num_buckets)
    added = []
    for bucket in np.unique(buckets).tolist():
        partition = partition_of(bucket, num_buckets, files[0].task)
        added.append(table.write_rows(rows.filter(pa.array(buckets == bucket)), partition, run_id).to_row())
    return {"added": added, "removed": item["files"]}


def _take(exchange: Exchange, names: Sequence[str], bucket: int) -> pa.Table:
    return exchange.choose_parts(names).read(bucket)


def _to_rows(files: Iterable[DataFile]) -> list[Row]:
    return [file.to_row() for file in files]
