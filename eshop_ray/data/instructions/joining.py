"""Judgements and reviews that name their products by id, and the products' titles in other files: joined on Ray."""

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.data.instructions.material import Judgement, ProductTitle, Review, read_material
from eshop_ray.data.instructions.reading import MATERIAL_SCHEMA, to_row
from eshop_ray.schema import Malformed, Row

_TITLES = pa.schema([("source", pa.string()), ("needs", pa.string()), ("found", pa.string())])
_MAX_PARTITIONS = 64
_PARTITION_ROWS = 20_000


def join_titles(material: Dataset, num_rows: int) -> Dataset:
    """Return material in which judgements and reviews have their products' titles.

    Judgements without such a product are malformed; a review says enough without.

    Args:
        material: Columns of `MATERIAL_SCHEMA`.
        num_rows: How much there is.
    """
    num_partitions = min(_MAX_PARTITIONS, 1 + num_rows // _PARTITION_ROWS)
    needing = material.map_batches(_select_needing, batch_format="pyarrow")
    titles = material.map_batches(_select_titles, batch_format="pyarrow")
    joined = needing.join(titles, join_type="left_outer", num_partitions=num_partitions, on=("source", "needs"))
    complete = joined.map_batches(_complete, batch_format="pyarrow")
    return material.map_batches(_select_others, batch_format="pyarrow").union(complete)


def lacks_titles(material: Dataset) -> bool:
    """Whether there are judgements of which nothing is known but the products' ids."""
    num_untitled: int = material.map_batches(_select_untitled, batch_format="pyarrow").count()
    return num_untitled > 0


def _select_untitled(table: pa.Table) -> pa.Table:
    is_untitled = pc.and_(pc.is_valid(table["needs"]), pc.equal(table["kind"], Judgement.__name__))
    return table.filter(pc.fill_null(is_untitled, False)).select(["source"])


def _select_needing(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table["needs"]))


def _select_titles(table: pa.Table) -> pa.Table:
    rows = table.filter(pc.equal(table["kind"], ProductTitle.__name__)).select(["source", "data"]).to_pylist()
    return pa.Table.from_pylist([_to_title(row) for row in rows], schema=_TITLES)


def _to_title(row: Row) -> Row:
    one = read_material(ProductTitle.__name__, row["data"])
    assert isinstance(one, ProductTitle)
    return {"source": row["source"], "needs": one.id, "found": one.title}


def _select_others(table: pa.Table) -> pa.Table:
    is_title = pc.fill_null(pc.equal(table["kind"], ProductTitle.__name__), False)
    return table.filter(pc.and_(pc.is_null(table["needs"]), pc.invert(is_title)))


def _complete(table: pa.Table) -> pa.Table:
    rows = [_complete_row(row) for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=MATERIAL_SCHEMA)


def _complete_row(row: Row) -> Row:
    one = read_material(row["kind"], row["data"])
    if isinstance(one, Review):
        return to_row(one.with_title(row["found"]) if row["found"] else one, row, 0)
    assert isinstance(one, Judgement)
    if row["found"] is None:
        reason = f"no file of the source has a product {row['needs']}"
        return to_row(Malformed(row["path"], row["line"], reason), row, row["line"])
    return to_row(one.with_title(row["found"]), row, row["line"])
