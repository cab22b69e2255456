"""Raw files -> records on disk, one folder per task and split.

files --read_file--> rows --check--> rows --drop_repeats--> records/task=NAME/split=NAME/part-00000.parquet
"""

import json
import logging
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Dataset
from ray.data.grouped_data import GroupedData

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data import cleaning, files
from eshop_ray.data.rows import read_file
from eshop_ray.datasets import map_items, user_errors
from eshop_ray.errors import UserError
from eshop_ray.schema import RECORD_SCHEMA, Row, bucket_of, decode, encode
from eshop_ray.tasks import list_tasks

logger = logging.getLogger(__name__)

MALFORMED = "malformed.jsonl"
"""Beside the records: every row that could not be read, with `path`, `line` and `reason`."""

_BUCKET_ROWS = 5000
_MAX_PARTITIONS = 64
_MAX_SHOWN = 10
_COUNTED = ("records", "repaired", "duplicate", "in_another_split")


def list_sources(config: Config) -> list[Row]:
    """Return `path`, `split`, `format` and `options` of every file of every source.

    Raises:
        UserError: if there is no source, or one's pattern matches nothing.
    """
    if not config.data.sources:
        raise UserError("`data.sources` is empty; name at least one with `format` and `path`")
    unknown = set(config.data.tasks) - set(list_tasks())
    if unknown:
        raise UserError(f"`data.tasks`: no task {', '.join(sorted(unknown))}; choose from {', '.join(list_tasks())}")
    return [
        {
            "path": file.path,
            "split": source.split or file.split,
            "format": source.format,
            "options": encode(source.options),
        }
        for source in config.data.sources
        for file in files.list_files(config.data.root, source.path)
    ]


def fingerprint_inputs(config: Config) -> str:
    """Return a digest of all that determines the records: settings, and size and time of every file."""
    listed = [{**file, "state": files.state_of(file["path"])} for file in list_sources(config)]
    data = config.data.model_dump(mode="json", exclude={"num_products", "records_dir", "groups", "max_train_rows"})
    return artifacts.fingerprint([data, config.evaluate.split, listed])


def read_records(config: Config) -> Dataset:
    """Return all rows of all sources, malformed ones included, with the columns of `ROW_SCHEMA`."""
    return map_items(partial(read_file, tasks=config.data.tasks), list_sources(config))


def prepare_records(config: Config) -> dict[str, Any]:
    """Write the run's records, in the place of earlier ones, and return what was counted.

    Columns on disk are exactly `RECORD_SCHEMA`; rows of one file are sorted by id, and the same input gives the
    same files. When anything fails, the records of an earlier run stay as they are.

    Raises:
        UserError: for an unreadable file, too many malformed rows, ids that are not unique, an empty split or a
            task without rows.
    """
    cleaning.check_validation(config.data.validation_share, config.evaluate.split)
    with user_errors():
        rows = read_records(config).materialize()
    with artifacts.stage_dir(config.records_dir) as folder:
        num_malformed = _write_malformed(rows, folder / MALFORMED, config.data.max_malformed_share)
        good = rows.map_batches(_select_good, batch_format="pyarrow").materialize()
        num_read = good.count()
        if any(source.options.get("newest_by") for source in config.data.sources):
            good = _by_bucket(good, "id").map_groups(_keep_newest, batch_format="pyarrow").materialize()
        _check_ids(good)
        counts = _write_good(good, _collect_labels(good), folder, config)
        cleaning.check_splits(_sum_counts(counts), config.data.tasks, config.evaluate.split)
    return {
        "num_rows": rows.count(),
        "num_malformed": num_malformed,
        "num_superseded": num_read - good.count(),
        **{f"num_{name}": sum(row[name] for row in counts) for name in _COUNTED},
        "records": {"/".join(key): count for key, count in sorted(_sum_counts(counts).items())},
    }


def _write_malformed(rows: Dataset, path: Path, max_share: float) -> int:
    """Check the share of malformed rows, warn about the first and write them all."""
    malformed = rows.map_batches(_select_malformed, batch_format="pyarrow").materialize()
    num_malformed: int = malformed.count()
    if num_malformed == 0:
        return 0
    malformed = malformed.sort(["path", "line"]).materialize()
    shown = malformed.take(_MAX_SHOWN)
    cleaning.check_malformed(shown, num_malformed, rows.count(), max_share)
    for row in shown:
        logger.warning("malformed row %s", cleaning.describe(row))
    if num_malformed > len(shown):
        logger.warning("%d more malformed rows: see records/%s", num_malformed - len(shown), MALFORMED)
    with path.open("w") as stream:
        for row in malformed.iter_rows():
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return num_malformed


def _check_ids(good: Dataset) -> None:
    """Refuse an id, given by a source, that stands for different contents: predictions are joined on it."""
    if good.map_batches(_select_given_ids, batch_format="pyarrow").count() == 0:
        return
    # All rows go on: a block without any given id would be empty, and of such a one Ray leaves out the columns.
    conflicts = (
        _by_bucket(good.select_columns(["id", "content"]), "id")
        .map_groups(_find_conflicts, batch_format="pyarrow")
        .take(_MAX_SHOWN)
    )
    if conflicts:
        names = ", ".join(sorted(row["id"] for row in conflicts))
        raise UserError(f"ids that stand for rows of different content: {names}; make the sources' ids unique")


def _collect_labels(good: Dataset) -> dict[str, list[str]]:
    """Return the categories of each group of classification records that came without labels."""
    found = good.map_batches(_find_labels, batch_format="pyarrow")
    labels: dict[str, set[str]] = {}
    for row in found.iter_rows():
        labels.setdefault(row["group"], set()).add(row["label"])
    sorted_labels = {group: sorted(names) for group, names in labels.items()}
    cleaning.check_labels(sorted_labels)
    return sorted_labels


def _write_good(good: Dataset, labels: dict[str, list[str]], folder: Path, config: Config) -> list[Row]:
    """Drop repeats and write the rest, bucket by bucket; the same content always falls into the same bucket."""
    if good.count() == 0:
        return []
    counts: list[Row] = []
    files = _by_bucket(good, "content").map_groups(
        _write_bucket,
        batch_format="pyarrow",
        fn_kwargs={
            "labels": labels,
            "eval_split": config.evaluate.split,
            "eval_share": config.data.eval_share,
            "validation_share": config.data.validation_share,
            "split_by": config.data.split_by,
        },
    )
    rules: set[str] = set()
    with user_errors():
        for row in files.iter_rows():
            content, path = row.pop("content"), folder / row.pop("path")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            rules.update(decode(row.pop("rules")))
            counts.append(row)
    cleaning.check_split_rules(config.data.split_by, rules)
    return counts


def _write_bucket(
    table: pa.Table,
    labels: dict[str, list[str]],
    eval_split: str,
    eval_share: float,
    validation_share: float,
    split_by: dict[str, str],
) -> pa.Table:
    """Return one bucket's records, a file per task and split, with its path, and what was counted.

    The driver writes them: it has to read every byte for the manifest, and needs no disk that nodes share.
    """
    bucket = table["bucket"][0].as_py()
    kept, dropped = cleaning.drop_repeats(table.to_pylist(), eval_split, eval_share, split_by)
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in kept:
        split = cleaning.draw_validation(row, validation_share, split_by)
        parts.setdefault((row["task"], split), []).append(cleaning.fill_labels(row, labels))
    counts = []
    for (task, split), rows in sorted(parts.items()):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), sink)
        file = {
            "path": f"task={task}/split={split}/part-{bucket:05d}.parquet",
            "content": sink.getvalue().to_pybytes(),
        }
        repaired = sum(row["repaired"] is not None for row in rows)
        rules = sorted(filter(None, {cleaning.find_split_rule(row, split_by) for row in rows}))
        told = {"task": task, "split": split, "records": len(rows), "repaired": repaired}
        counts.append({**file, **told, "rules": encode(rules)})
    counts[0].update(dropped)
    return pa.Table.from_pylist([{**dict.fromkeys(_COUNTED, 0), **row} for row in counts])


def _by_bucket(rows: Dataset, column: str) -> GroupedData:
    """Group rows so that equal values meet and a group fits into memory."""
    num_buckets = math.ceil(rows.count() / _BUCKET_ROWS)
    return rows.map_batches(
        _add_bucket, batch_format="pyarrow", fn_kwargs={"column": column, "num_buckets": num_buckets}
    ).groupby("bucket", num_partitions=min(num_buckets, _MAX_PARTITIONS))


def _add_bucket(table: pa.Table, column: str, num_buckets: int) -> pa.Table:
    pairs = zip(table[column].to_pylist(), table["content"].to_pylist(), strict=True)
    buckets = [bucket_of(value or content, num_buckets) for value, content in pairs]
    return table.append_column("bucket", pa.array(buckets, pa.int64()))


def _select_malformed(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table["reason"])).select(["path", "line", "reason"])


def _select_good(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["reason"]))


def _select_given_ids(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table["id"])).select(["id", "content"])


def _keep_newest(table: pa.Table) -> pa.Table:
    return pa.Table.from_pylist(cleaning.keep_newest(table.to_pylist()), schema=table.schema).drop_columns("bucket")


def _find_conflicts(table: pa.Table) -> pa.Table:
    given = table.filter(pc.is_valid(table["id"]))
    return pa.table({"id": pa.array(cleaning.find_conflicts(given.to_pylist()), pa.string())})


def _find_labels(table: pa.Table) -> pa.Table:
    return pa.Table.from_pylist(
        [{"group": group, "label": label} for group, label in sorted(cleaning.find_labels(table.to_pylist()))],
        schema=pa.schema([("group", pa.string()), ("label", pa.string())]),
    )


def _sum_counts(counts: list[Row]) -> Counter[tuple[str, str]]:
    """Return (task, split) -> records, over all buckets."""
    total: Counter[tuple[str, str]] = Counter()
    for row in counts:
        total[row["task"], row["split"]] += row["records"]
    return total
