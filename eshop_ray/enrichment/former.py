"""Tables of the first design, with deletion vectors and without buckets: their rows are copied, not asked anew.

The copy stands beside the old table, which stays as it is: no call takes the vectors out of it, and some readers would
still show what was removed.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from eshop_ray.enrichment.placing import place_by
from eshop_ray.enrichment.table import RUN_FOLDER, Table
from eshop_ray.enrichment.table.log_damage import open_version
from eshop_ray.exchange import Exchange, PartWriter
from eshop_ray.schema import Row
from eshop_ray.storage import Storage

logger = logging.getLogger(__name__)

SUFFIX = "_v2"
"""After the name of a table of the first design: where its rows are kept from then on."""
_MARK = f"{RUN_FOLDER}/copied"


def find_table(table: Table) -> Table:
    """Return the table that is kept for a URI: there, or beside what stands there if that is of the first design.

    Raises:
        UserError: if the storage cannot be read.
    """
    is_former = _load_former(table.uri, table) is not None
    return replace(table, uri=f"{table.uri.rstrip('/')}{SUFFIX}") if is_former else table


def needs_copy(table: Table) -> bool:
    """Whether a table of the first design stands beside this one whose rows are not all here yet."""
    former = table.uri.removesuffix(SUFFIX)
    if former == table.uri or _load_former(former, table) is None:
        return False
    return table.storage.read(_MARK) is None


def copy_rows(table: Table, results: Exchange, owners: tuple[str, ...]) -> list[Row]:
    """Write the rows of the table of the first design beside this one into an exchange of results; return its parts.

    Args:
        table: The new table.
        results: Of this table.
        owners: Columns of which the first that is not null places a row.
    """
    former = table.uri.removesuffix(SUFFIX)
    logger.info("%s: a table of the first design; its rows go to %s", Storage(former).shown, table.storage.shown)
    writer = PartWriter(
        results,
        "former",
        place_by(owners, results.num_buckets),
    )
    for rows in _read_former(former, table):
        has_answers = "prediction" in rows.schema.names
        no_key = pa.scalar(None, pa.string())
        keys = pc.if_else(rows["prediction"].is_valid(), rows["key"], no_key) if has_answers else None
        added = {"prediction_key": keys, "replaces": pa.repeat(pa.scalar(True), len(rows))}
        added |= {name: pa.nulls(len(rows), results.schema.field(name).type) for name in table.later}
        columns = {name: rows[name] if name in rows.schema.names else added[name] for name in results.schema.names}
        writer.add(pa.table(columns, schema=results.schema))
    return writer.close()


def mark_copied(table: Table) -> None:
    """Note that all rows are here."""
    table.storage.write(_MARK, b"")


def _read_former(uri: str, table: Table) -> Iterator[pa.Table]:
    found = _load_former(uri, table)
    if found is None:
        return
    stream = QueryBuilder().register("former", found).execute("select * from former")
    for batch in pa.RecordBatchReader.from_stream(stream):
        # The query gives views of strings, which PyArrow can do little with.
        rows = pl.DataFrame(batch).to_arrow(compat_level=pl.CompatLevel.oldest())
        yield rows.cast(pa.schema([table.schema.field(name) for name in rows.schema.names]))


def _load_former(uri: str, table: Table) -> DeltaTable | None:
    storage = Storage(uri)
    try:
        found = open_version(storage)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError, ValueError):
        return None  # whoever opens the table says what is wrong
    names = {field.name for field in found.schema().fields}
    is_former = not found.metadata().partition_columns and names == set(table.schema.names) - {
        "bucket",
        "prediction_key",
        *table.later,
    }
    return found if is_former else None
