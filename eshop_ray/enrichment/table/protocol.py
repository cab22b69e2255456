"""What a Delta table asks of those who read and write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eshop_ray.errors import UserError

_VECTORS = "deletionVectors"
_LEGACY_FEATURES = frozenset({"appendOnly", "invariants"})
_KNOWN = _LEGACY_FEATURES | {_VECTORS}


@dataclass(frozen=True, slots=True)
class Protocol:
    """A table's versions and features; the default is what every engine can read and write."""

    reader: int = 1
    writer: int = 2
    reader_features: frozenset[str] = frozenset()
    writer_features: frozenset[str] = frozenset()

    @classmethod
    def from_action(cls, action: Mapping[str, Any]) -> "Protocol":
        """Read a `protocol` action."""
        return cls(
            action["minReaderVersion"],
            action["minWriterVersion"],
            frozenset(action.get("readerFeatures") or ()),
            frozenset(action.get("writerFeatures") or ()),
        )

    def to_action(self) -> dict[str, Any]:
        """Return the action that states this protocol."""
        action: dict[str, Any] = {"minReaderVersion": self.reader, "minWriterVersion": self.writer}
        if self.reader >= 3:
            action["readerFeatures"] = sorted(self.reader_features)
        if self.writer >= 7:
            action["writerFeatures"] = sorted(self.writer_features)
        return {"protocol": action}

    @property
    def has_deletion_vectors(self) -> bool:
        """Whether files of the table may have deletion vectors."""
        return _VECTORS in self.reader_features

    def with_deletion_vectors(self) -> "Protocol":
        """Return the protocol that allows deletion vectors besides what this one allows."""
        written = self.writer_features | (_LEGACY_FEATURES if self.writer < 7 else frozenset())
        return Protocol(3, 7, self.reader_features | {_VECTORS}, written | {_VECTORS})

    def check(self, uri: str) -> None:
        """Refuse a table that would be read or written wrongly.

        Raises:
            UserError: naming the features that another program switched on.
        """
        unknown = sorted((self.reader_features | self.writer_features) - _KNOWN)
        if self.reader not in (1, 3) or self.writer not in (1, 2, 7):
            unknown.append(f"protocol {self.reader}/{self.writer}")
        if unknown:
            raise UserError(
                f"{uri} was given table features that this job does not know ({', '.join(unknown)}); "
                "set `table.uri` to a new place, or drop the features with the program that added them"
            )
