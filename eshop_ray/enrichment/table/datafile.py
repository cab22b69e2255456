"""Data files of a table: content-addressed Parquet files, each of one partition."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import unquote

from eshop_ray.schema import Row

DIGEST_CHARACTERS = 32
"""Hexadecimal digits of a file's SHA-256 that its name states."""

Partition = Mapping[str, str]
"""Partition column -> value, as a table's log writes it."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table."""

    path: str
    """Relative to the table, as its log states it."""
    size: int
    """Bytes."""
    num_rows: int
    modified_ms: int
    partition: Partition

    @property
    def name(self) -> str:
        """Where the file stands: the log escapes what a URI must not hold."""
        return unquote(self.path)

    @property
    def num_buckets(self) -> int:
        """Among how many buckets rows were divided when it was written: see `partition_of`."""
        return 1 << (int(self.partition["bucket"]).bit_length() - 1)

    @property
    def bucket(self) -> int:
        """Of its rows."""
        return int(self.partition["bucket"]) - self.num_buckets

    @property
    def task(self) -> str | None:
        """Of its rows, where the table is divided by task."""
        return self.partition.get("task")

    @property
    def digest(self) -> str | None:
        """The beginning of its SHA-256, by its name; None: another program wrote it."""
        stem = self.path.rpartition("/")[2].removesuffix(".parquet").removeprefix("part-")
        is_digest = len(stem) == DIGEST_CHARACTERS and all(one in "0123456789abcdef" for one in stem)
        return stem if is_digest else None

    def to_row(self) -> Row:
        """Return it as plain values."""
        return {**asdict(self), "partition": dict(self.partition)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_row` made."""
        return cls(**row)


def partition_of(bucket: int, num_buckets: int, task: str | None = None) -> dict[str, str]:
    """Return the partition of a bucket's rows.

    The table's column `bucket` is the bucket's number plus the number of buckets, a power of two: it tells both, so
    that a table is divided anew by one commit.
    """
    named = {} if task is None else {"task": task}
    return {**named, "bucket": str(num_buckets + bucket)}


def name_file(partition: Partition, digest: str) -> str:
    """Return the path of a file with these bytes."""
    folders = "".join(f"{name}={value}/" for name, value in partition.items())
    return f"{folders}part-{digest[:DIGEST_CHARACTERS]}.parquet"
