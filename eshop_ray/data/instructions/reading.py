"""Files -> material on Ray: one table for all kinds, its texts as JSON."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.config import Config
from eshop_ray.data.files import open_bytes
from eshop_ray.data.instructions.draw import rank_of
from eshop_ray.data.instructions.material import Judgement, LeftOut, Material, Review, write_material
from eshop_ray.data.instructions.material_texts import list_texts
from eshop_ray.data.instructions.plan import Plan, list_material_files
from eshop_ray.data.instructions.sources import READERS
from eshop_ray.datasets import map_items
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.schema import Malformed, Row, decode, is_text

MATERIAL_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("kind", pa.string()),
        ("department", pa.string()),
        ("id", pa.string()),
        ("data", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("repaired", pa.string()),
        ("needs", pa.string()),
        ("cleaned", pa.string()),
        ("left_out", pa.string()),
    ]
)
"""Material, `data` being what `write_material` writes; of what could not be read `path`, `line` and `reason`. `needs`
is the id of a product whose title stands in another file. `cleaned` are the repairs of its texts; what is `left_out`
for them has no `kind`, and as `data` its texts."""

BUCKET_ROWS = 4_000
"""Material that is together in memory: enough to find hard negatives in, and as much for any size of a source."""
_BATCH_ROWS = 4096


def read_material(config: Config, plan: Plan) -> Dataset:
    """Return the material of all sources, columns of `MATERIAL_SCHEMA`."""
    return map_items(read_file, list_material_files(config, plan.sources))


def read_file(file: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Read a file (`source`, `path`, `format`, `options`) into tables of `MATERIAL_SCHEMA`.

    A file that is damaged ends with a row that says so; what stood before the damage is used.
    """
    rows = read_rows_of(file)
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        yield pa.Table.from_pylist(batch, schema=MATERIAL_SCHEMA)


def read_rows_of(file: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of `MATERIAL_SCHEMA` of a file, without Ray."""
    position = 0
    try:
        with open_bytes(file["path"]) as stream:
            for position, found in enumerate(READERS[file["format"]](stream, file["path"], decode(file["options"])), 1):
                yield to_row(found, file, position)
    except UserError as error:
        yield to_row(Malformed(file["path"], position + 1, f"unreadable from here on: {error}"), file, position)


def to_row(found: Material | LeftOut | Malformed, file: Mapping[str, Any], position: int) -> Row:
    """Return the row of `MATERIAL_SCHEMA` of what a file (`source`, `path`) gave."""
    if isinstance(found, Malformed):
        reason = found.reason.encode("utf-8", "replace").decode()
        return {"source": file["source"], "path": show(found.path), "line": found.line, "reason": reason}
    if isinstance(found, LeftOut):
        text = found.text.encode("utf-8", "replace").decode()
        return {"source": file["source"], "left_out": found.reason, "data": text}
    if not all(map(is_text, list_texts(asdict(found)))):
        reason = "a byte that is none of the file's encoding, or half of a character: it cannot be stored"
        return to_row(Malformed(file["path"], position, reason), file, position)
    data = write_material(found)
    known = {"source": file["source"], "kind": type(found).__name__}
    if isinstance(found, Judgement) and not found.title:
        known |= {"needs": found.product_id, "path": file["path"], "line": position}
    if isinstance(found, Review) and found.product and not found.product_title:
        known |= {"needs": found.product}
    return {**known, "department": found.department, "id": found.id, "data": data, "repaired": found.repaired or None}


def count_departments(material: Dataset) -> Counter[tuple[str, str, str]]:
    """Return (source, kind, department) -> how much of it there is."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in material.map_batches(_count_batch, batch_format="pyarrow").iter_rows():
        counts[row["source"], row["kind"], row["department"]] += row["number"]
    return counts


def add_bucket(table: pa.Table, departments: Mapping[tuple[str, str], int], buckets: Mapping[str, int]) -> pa.Table:
    """Add the column `bucket`: material of one department meets in one, but for departments that are too large for it.

    Args:
        table: Columns of `MATERIAL_SCHEMA`, no malformed rows.
        departments: (source, department) -> parts that it is cut into; one where it is not named.
        buckets: Source -> how many buckets it has.
    """
    names = []
    for source, department, one_id in zip(
        *(table[name].to_pylist() for name in ("source", "department", "id")), strict=True
    ):
        num_parts = departments.get((source, department), 1)
        part = rank_of(one_id) % num_parts if num_parts > 1 else 0
        names.append(f"{source}/{rank_of(department, part) % buckets[source]}")
    return table.append_column("bucket", pa.array(names, pa.string()))


def plan_buckets(counts: Mapping[tuple[str, str, str], int]) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Return what `add_bucket` needs, for `BUCKET_ROWS` a bucket."""
    totals: Counter[str] = Counter()
    departments: Counter[tuple[str, str]] = Counter()
    for (source, _, department), number in counts.items():
        totals[source] += number
        departments[source, department] += number
    large = {key: -(-number // BUCKET_ROWS) for key, number in departments.items() if number > BUCKET_ROWS}
    return large, {source: -(-number // BUCKET_ROWS) for source, number in totals.items()}


def _count_batch(table: pa.Table) -> pa.Table:
    columns = (table[name].to_pylist() for name in ("source", "kind", "department"))
    counts = Counter(key for key in zip(*columns, strict=True) if key[1] is not None)
    rows = [{"source": a, "kind": b, "department": c, "number": number} for (a, b, c), number in counts.items()]
    schema = pa.schema([*[*MATERIAL_SCHEMA][:3], ("number", pa.int64())])
    return pa.Table.from_pylist(rows, schema=schema)
