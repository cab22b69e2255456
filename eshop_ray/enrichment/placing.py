"""Which bucket of an exchange a row goes to: products and their reviews meet by the product's id, on any machine."""

import functools
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import TYPE_CHECKING

import pyarrow as pa

from eshop_ray.exchange import Buckets

if TYPE_CHECKING:
    import duckdb


def bucket_of(value: str, num_buckets: int) -> int:
    """Return the bucket of an id or key: equal values meet in one, and buckets are of about one size."""
    return int.from_bytes(md5(value.encode(), usedforsecurity=False).digest()[:8], "little") % num_buckets


@functools.cache  # a database takes longer to open than a part's ids to hash
def _hasher() -> "duckdb.DuckDBPyConnection":
    # Imported now: the library is for workers of a night, and few processes are.
    from eshop_ray.data.database import connect

    return connect()


def place_by(names: Sequence[str], num_buckets: int) -> Callable[[pa.Table], Buckets]:
    """Return what places rows by the first of some columns that is not null."""
    return lambda rows: place_values([rows[name] for name in names], num_buckets)


def place_values(values: Sequence[pa.ChunkedArray], num_buckets: int) -> Buckets:
    """Return the bucket of each row: `bucket_of` the first of several columns that is not null."""
    columns = {f"value_{number}": column for number, column in enumerate(values)}
    database = _hasher()
    database.register("rows", pa.table(columns))
    hashed = f"md5_number_upper(coalesce({', '.join(columns)}, '')) % {num_buckets}"
    placed: pa.Table = database.sql(f"select ({hashed})::bigint as bucket from rows").to_arrow_table()
    database.unregister("rows")
    buckets: Buckets = placed["bucket"].to_numpy()
    return buckets
