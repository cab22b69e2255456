"""One small table, its rows, and every engine that has to read them."""

from collections.abc import Callable

import daft
import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from duckdb_extensions import import_extension

from eshop_ray.enrichment.table import DataFile, Table, Writer, partition_of
from eshop_ray.storage import Storage

SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("value", pa.int64()),
        ("entities", pa.list_(pa.struct([("text", pa.string()), ("type", pa.string())]))),
        ("at", pa.timestamp("us", tz="UTC")),
        ("bucket", pa.int32()),
    ]
)
PARTITION = partition_of(3, 4, "ner_tagging")
Row = tuple[str, int]
"""Product id and value."""


def make_rows(values: dict[str, int]) -> pa.Table:
    return pa.table(
        {
            "product_id": list(values),
            "task": ["ner_tagging"] * len(values),
            "value": list(values.values()),
            "entities": [[{"text": f"red {name}", "type": "color"}] for name in values],
            "at": [1_790_000_000_000_000 + value for value in values.values()],
            "bucket": [7] * len(values),
        },
        schema=SCHEMA,
    )


def open_table(uri: str) -> Table:
    table = Table(uri, SCHEMA, ("task", "bucket"))
    table.create(num_buckets=4)
    return table


def write_file(table: Table, run_id: str = "run", **values: int) -> DataFile:
    return table.write_rows(make_rows(values), PARTITION, run_id)


def replace_all(table: Table, writer: Writer, **values: int) -> DataFile:
    """Write rows in the place of all that the table has."""
    file = write_file(table, **values)
    writer.commit([file], writer.files)
    return file


def read_own(uri: str) -> list[Row]:
    table = Table(uri, SCHEMA, ("task", "bucket"))
    return sorted(row for file in table.snapshot().files for row in to_rows(table.read_file(file)))


def read_polars(uri: str) -> list[Row]:
    return to_rows(pl.read_delta(uri).to_arrow())


def read_duckdb(uri: str) -> list[Row]:
    with duckdb.connect() as connection:
        import_extension("delta", con=connection)
        return sorted(connection.execute("select product_id, value from delta_scan(?)", [uri]).fetchall())


def read_deltalake(uri: str) -> list[Row]:
    return to_rows(DeltaTable(uri, storage_options=Storage(uri).options).to_pyarrow_table())


def read_pandas(uri: str) -> list[Row]:
    return to_rows(pa.Table.from_pandas(DeltaTable(uri).to_pandas()))


def read_daft(uri: str) -> list[Row]:
    return to_rows(daft.read_deltalake(uri).select("product_id", "value").to_arrow())


def to_rows(table: pa.Table) -> list[Row]:
    return sorted(zip(table["product_id"].to_pylist(), table["value"].to_pylist(), strict=True))


ENGINES: dict[str, Callable[[str], list[Row]]] = {
    "own": read_own,
    "polars": read_polars,
    "duckdb": read_duckdb,
    "deltalake": read_deltalake,
    "pandas": read_pandas,
    "daft": read_daft,
}
