"""The factory on one screen: files -> material -> candidates -> rows that stay -> files, and what was counted."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Dataset

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA, Context, build_candidates
from eshop_ray.data.instructions.card import explain_absent
from eshop_ray.data.instructions.choose import (
    REMOVED_SCHEMA,
    mark_crossing,
    mark_repeats,
    mark_surplus,
    select_kept,
    select_removed,
)
from eshop_ray.data.instructions.counts import Counts, count_rows, count_splits
from eshop_ray.data.instructions.decontaminate import Index, mark_contaminated, read_index
from eshop_ray.data.instructions.drift import report_drift
from eshop_ray.data.instructions.foreign import mark_foreign
from eshop_ray.data.instructions.joining import join_titles, lacks_titles
from eshop_ray.data.instructions.limits import Limits, find_limits, rank_rows
from eshop_ray.data.instructions.material import ProductTitle
from eshop_ray.data.instructions.material import read_material as parse_material
from eshop_ray.data.instructions.material_texts import clean_material
from eshop_ray.data.instructions.near_repeats import find_near_repeats, mark_near_repeats
from eshop_ray.data.instructions.plan import Plan
from eshop_ray.data.instructions.reading import add_bucket, count_departments, plan_buckets, read_material
from eshop_ray.data.instructions.shares import Shares, plan_shares, widen_shares
from eshop_ray.data.instructions.teacher.commission import Teacher
from eshop_ray.data.instructions.teacher.route import add_taught
from eshop_ray.data.language import check_languages
from eshop_ray.datasets import user_errors
from eshop_ray.errors import UserError
from eshop_ray.schema import INSTRUCTION_SCHEMA, bucket_of

logger = logging.getLogger(__name__)

MAX_PARTITIONS = 64
OUTPUT_ROWS = 10_000
"""Rows of a file."""
REMOVED = "removed.parquet"
"""Beside the splits: `id`, `group`, `split`, `source` and `reason` of the candidates that are no rows."""


def build_instructions(config: Config, plan: Plan, folder: Path, teacher: Teacher | None = None) -> Counts:
    """Write a recipe's rows into a folder, one below it for each split, and return what was counted.

    Beside the rows stands `REMOVED`.

    The same recipe, seed, files and answers of a teacher give the same bytes, however many workers there are.

    Args:
        config: Of the run.
        plan: Its recipe.
        folder: Where the rows are to stand.
        teacher: Makes more rows, where the recipe has one.

    Raises:
        UserError: if not one row is left.
    """
    index = read_index(config)
    with user_errors():
        material = _read(config, plan)
        candidates, shares = _build_enough(material, plan, index)
        distinct = _mark_repeats(candidates, config, folder.parent).materialize()
        if teacher:
            distinct = add_taught(distinct, config, plan, index, teacher)
        rows = _choose(distinct, plan).materialize()
        counts = count_rows(material, rows)
        counts.drift, counts.shares = report_drift(config, plan), shares
        if not counts.num_rows:
            raise UserError(f"not one row is left; {counts.explain()}; {explain_absent(plan, counts)}")
        counts.add_unread(index)
        with artifacts.stage_dir(folder) as staged:
            _write(rows, staged)
            _write_removed(rows, staged)
    return counts


def _read(config: Config, plan: Plan) -> Dataset:
    """Return the material of all sources, columns of `MATERIAL_SCHEMA`, complete and clean."""
    material = read_material(config, plan).materialize()
    counts = count_departments(material)
    if any(kind == ProductTitle.__name__ for _, kind, _ in counts) or lacks_titles(material):
        material = join_titles(material, counts.total())
    if section := config.instructions.text_cleaning:
        check_languages(section.languages)
        material = material.map_batches(clean_material, batch_format="pyarrow", fn_kwargs={"section": section})
    return material.materialize()


def _build_enough(material: Dataset, plan: Plan, index: Index) -> tuple[Dataset, Shares]:
    """Return the candidates of all sub-tasks, and the shares of their material that they are made of.

    Where candidates are too few for a quota, all are built anew of more material.
    """
    counts = count_departments(material)
    shares = plan_shares(plan, counts)
    # Materialized, for of a block that has no row left Ray leaves out the columns, and its shuffle fails at such a one.
    sound = material.map_batches(_select_sound, batch_format="pyarrow").materialize()
    while True:
        candidates = _build(sound, counts, Context(plan, shares))
        candidates = candidates.map_batches(mark_contaminated, batch_format="pyarrow", fn_kwargs={"index": index})
        candidates = candidates.map_batches(mark_foreign, batch_format="pyarrow").materialize()
        wider = widen_shares(shares, count_splits(candidates), plan)
        if wider == shares:
            return candidates, shares
        logger.info(
            "drawing more material for %s", ", ".join(sorted({n for n, s in wider if wider[n, s] > shares[n, s]}))
        )
        shares = wider


def _build(material: Dataset, counts: Mapping[tuple[str, str, str], int], context: Context) -> Dataset:
    """Return candidates, columns of `CANDIDATE_SCHEMA`, of sound material."""
    if not counts:
        return material.map_batches(lambda _: CANDIDATE_SCHEMA.empty_table(), batch_format="pyarrow")
    departments, buckets = plan_buckets(counts)
    placed = material.map_batches(
        add_bucket, batch_format="pyarrow", fn_kwargs={"departments": departments, "buckets": buckets}
    )
    return _group(placed, "bucket", sum(buckets.values()), partial(_build_bucket, context=context))


def _mark_repeats(candidates: Dataset, config: Config, run_dir: Path) -> Dataset:
    """Return all candidates, marked where they repeat another, in its very words or nearly."""
    num_buckets = max(1, candidates.count() // OUTPUT_ROWS)
    placed = candidates.map_batches(
        _place, batch_format="pyarrow", fn_kwargs={"column": "content", "num_buckets": num_buckets}
    )
    distinct = _group(placed, "bucket", num_buckets, lambda table: mark_repeats(table.drop_columns("bucket")))
    section = config.instructions.near_duplicates
    if section is None:
        return distinct
    distinct = distinct.materialize()
    going = find_near_repeats(distinct, section, run_dir)
    return distinct.map_batches(mark_near_repeats, batch_format="pyarrow", fn_kwargs={"going": going})


def _choose(distinct: Dataset, plan: Plan) -> Dataset:
    """Return all candidates, marked where they do not stay."""
    columns = ("group", "split", "route", "made", "rank", "keys")
    kept = distinct.map_batches(select_kept, batch_format="pyarrow", fn_kwargs={"columns": columns}).materialize()
    held = _collect_held(kept, plan)
    apart = distinct.map_batches(mark_crossing, batch_format="pyarrow", fn_kwargs={"held": held}).materialize()
    left = apart.map_batches(select_kept, batch_format="pyarrow", fn_kwargs={"columns": columns[:-1]})
    limits = _find_limits(left, plan)
    return apart.map_batches(mark_surplus, batch_format="pyarrow", fn_kwargs={"limits": limits})


def _collect_held(kept: Dataset, plan: Plan) -> frozenset[str]:
    """Return the products and queries of the rows that evaluation will have."""
    rows = kept.map_batches(_select_held, batch_format="pyarrow").materialize()
    limits = _find_limits(rows, plan)
    return frozenset(
        key
        for row in rows.iter_rows()
        if row["rank"] < limits.limits.get((row["group"], row["split"]), row["rank"] + 1)
        for key in row["keys"] or ()
    )


def _find_limits(rows: Dataset, plan: Plan) -> Limits:
    ranked = rows.map_batches(rank_rows, batch_format="pyarrow", fn_kwargs={"plan": plan})
    return find_limits(ranked.iter_batches(batch_size=None, batch_format="pyarrow"), plan)


def _write(rows: Dataset, folder: Path) -> None:
    """Write the rows that stay; the driver does, and needs no disk that nodes share."""
    kept = rows.map_batches(select_kept, batch_format="pyarrow", fn_kwargs={"columns": INSTRUCTION_SCHEMA.names})
    kept = kept.materialize()
    num_buckets = -(-kept.count() // OUTPUT_ROWS)
    placed = kept.map_batches(_place, batch_format="pyarrow", fn_kwargs={"column": "id", "num_buckets": num_buckets})
    for file in _group(placed, "bucket", num_buckets, _pack).iter_rows():
        path = folder / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file["content"])


def _write_removed(rows: Dataset, folder: Path) -> None:
    """Write which candidates were removed, and why; parts are brought into their order on the disk."""
    removed = rows.map_batches(select_removed, batch_format="pyarrow").materialize()
    with pq.ParquetWriter(folder / REMOVED, REMOVED_SCHEMA) as writer:
        if num_rows := removed.count():
            num_buckets = -(-num_rows // OUTPUT_ROWS)
            told = {"column": "id", "num_buckets": num_buckets}
            placed = removed.map_batches(_place, batch_format="pyarrow", fn_kwargs=told)
            for part in _group(placed, "bucket", num_buckets, _pack_removed).iter_rows():
                (folder / part["path"]).write_bytes(part["content"])
        for path in sorted(folder.glob(f"{REMOVED}-*")):
            writer.write_table(pq.read_table(path, partitioning=None))
            path.unlink()


def _group(rows: Dataset, column: str, num_groups: int, function: Callable[[pa.Table], Any]) -> Dataset:
    grouped = rows.groupby(column, num_partitions=min(num_groups, MAX_PARTITIONS))
    return grouped.map_groups(function, batch_format="pyarrow")


def _build_bucket(table: pa.Table, context: Context) -> pa.Table:
    pairs = zip(table["kind"].to_pylist(), table["data"].to_pylist(), strict=True)
    material = [parse_material(kind, data) for kind, data in pairs]
    rows = list(build_candidates(table["source"][0].as_py(), material, context))
    return pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)


def _pack(table: pa.Table) -> pa.Table:
    """Return a file of each split of a bucket."""
    bucket = table["bucket"][0].as_py()
    table = table.select(INSTRUCTION_SCHEMA.names).sort_by("id")
    files = []
    for split in sorted(table["split"].unique().to_pylist()):
        sink = pa.BufferOutputStream()
        pq.write_table(table.filter(pc.equal(table["split"], split)), sink)
        path = f"split={split}/part-{bucket:05d}.parquet"
        files.append({"path": path, "content": sink.getvalue().to_pybytes()})
    return pa.Table.from_pylist(files)


def _pack_removed(table: pa.Table) -> pa.Table:
    """Return the part of a bucket as a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.select(REMOVED_SCHEMA.names).cast(REMOVED_SCHEMA).sort_by("id"), sink)
    path = f"{REMOVED}-{table['bucket'][0].as_py():05d}"
    return pa.table({"path": [path], "content": [sink.getvalue().to_pybytes()]})


def _place(table: pa.Table, column: str, num_buckets: int) -> pa.Table:
    buckets = [bucket_of(value, num_buckets) for value in table[column].to_pylist()]
    return table.append_column("bucket", pa.array(buckets, pa.int64()))


def _select_sound(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table["kind"]))


def _select_held(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["split"], TRAIN))
