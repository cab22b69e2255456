"""One Parquet file of a Delta table as the log describes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from eshop_ray.enrichment.table.deletion import DeletionVector

SHA256 = "sha256"
"""The tag of an `add` action that holds the digest of the file's bytes."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file, immutable once written; what is removed from it stands in its deletion vector."""

    path: str
    """Relative to the table, verbatim from the log (URL-encoded)."""
    size: int
    num_rows: int
    """Physical rows, deleted ones included."""
    modified_ms: int
    stats: str
    """Delta's statistics, JSON text, verbatim."""
    tags: Mapping[str, str | None] = field(hash=False)
    deletion_vector: DeletionVector | None = None

    @property
    def name(self) -> str:
        """The file's path in the storage."""
        return unquote(self.path)

    @property
    def sha256(self) -> str | None:
        """Digest of the file's bytes; None for a file that another program wrote."""
        return self.tags.get(SHA256)

    @property
    def num_deleted(self) -> int:
        """Rows that the deletion vector removes."""
        return 0 if self.deletion_vector is None else self.deletion_vector.cardinality

    @property
    def num_live(self) -> int:
        """Rows that a reader sees."""
        return self.num_rows - self.num_deleted

    @classmethod
    def from_action(cls, action: Mapping[str, Any]) -> "DataFile":
        """Read an `add` action.

        Raises:
            ValueError: if the file was written without a row count.
        """
        stats = action.get("stats") or "{}"
        num_rows = json.loads(stats).get("numRecords")
        if num_rows is None:
            raise ValueError(f"{action['path']} has no `numRecords` among its statistics")
        vector = action.get("deletionVector")
        return cls(
            path=action["path"],
            size=action["size"],
            num_rows=num_rows,
            modified_ms=action["modificationTime"],
            stats=stats,
            tags=dict(action.get("tags") or {}),
            deletion_vector=None if vector is None else DeletionVector.from_action(vector),
        )

    def to_add(self, is_change: bool = True) -> dict[str, Any]:
        """Return the action that puts the file into the table; `is_change` is false when no row's content changes."""
        stats = json.loads(self.stats)
        stats["tightBounds"] = self.deletion_vector is None
        return {
            "add": {
                "path": self.path,
                "partitionValues": {},
                "size": self.size,
                "modificationTime": self.modified_ms,
                "dataChange": is_change,
                "stats": json.dumps(stats),
                "tags": dict(self.tags),
                **self._vector_action(),
            }
        }

    def to_remove(self, timestamp_ms: int, is_change: bool = True) -> dict[str, Any]:
        """Return the action that takes the file, with the vector that it has now, out of the table."""
        return {
            "remove": {
                "path": self.path,
                "deletionTimestamp": timestamp_ms,
                "dataChange": is_change,
                "extendedFileMetadata": True,
                "partitionValues": {},
                "size": self.size,
                "tags": dict(self.tags),
                **self._vector_action(),
            }
        }

    def to_row(self) -> dict[str, str | int | None]:
        """Return the file as a flat row, to travel in a Ray Data block; `from_row` reads it."""
        vector = self.deletion_vector
        return {
            "path": self.path,
            "size": self.size,
            "num_rows": self.num_rows,
            "modified_ms": self.modified_ms,
            "stats": self.stats,
            "tags": json.dumps(dict(self.tags)),
            "deletion_vector": None if vector is None else json.dumps(vector.to_action()),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "DataFile":
        """Read a row that `to_row` made; further columns are ignored."""
        vector = row["deletion_vector"]
        return cls(
            path=row["path"],
            size=row["size"],
            num_rows=row["num_rows"],
            modified_ms=row["modified_ms"],
            stats=row["stats"],
            tags=json.loads(row["tags"]),
            deletion_vector=None if vector is None else DeletionVector.from_action(json.loads(vector)),
        )

    def _vector_action(self) -> dict[str, Any]:
        return {} if self.deletion_vector is None else {"deletionVector": self.deletion_vector.to_action()}
