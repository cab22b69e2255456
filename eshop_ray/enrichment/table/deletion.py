"""Deletion vectors: which rows of a data file are gone, as Delta writes it into its log.

A vector is a 64-bit Roaring bitmap of physical row numbers: removing rows from a big file costs bytes per row, not a
new file. A small vector stands in the log itself ("inline"); the bigger ones of a commit share a file, because the log
would repeat them in every checkpoint.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from pyroaring import BitMap64

_ALPHABET = np.frombuffer(
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#", np.uint8
)
_DIGITS = np.zeros(256, np.uint64)
_DIGITS[_ALPHABET] = np.arange(85, dtype=np.uint64)
_PLACES = np.array([85**4, 85**3, 85**2, 85, 1], np.uint64)

_MAGIC = struct.pack("<i", 1681511377)
_FILE_VERSION = b"\x01"
_INLINE, _RELATIVE = "i", "u"
_UUID_CHARS = 20

INLINE_BYTES = 2048
"""Vectors up to this size stand in the log."""


@dataclass(frozen=True, slots=True)
class DeletionVector:
    """Where a file's vector stands and how many rows it removes: Delta's descriptor, kept as it was read."""

    storage_type: str
    """`i`: in the log, `u`: in a file of the table, `p`: in a file anywhere."""
    place: str
    size: int
    cardinality: int
    offset: int | None = None

    @property
    def path(self) -> str | None:
        """The vector's own file, relative to the table; None where it stands in the log."""
        if self.storage_type != _RELATIVE:
            return None
        folder, name = self.place[:-_UUID_CHARS], UUID(bytes=z85_decode(self.place[-_UUID_CHARS:]))
        return f"{folder}/deletion_vector_{name}.bin".lstrip("/")

    @classmethod
    def from_action(cls, action: Mapping[str, Any]) -> "DeletionVector":
        """Read the descriptor of an `add` action."""
        return cls(
            action["storageType"],
            action["pathOrInlineDv"],
            action["sizeInBytes"],
            action["cardinality"],
            action.get("offset"),
        )

    def to_action(self) -> dict[str, Any]:
        """Return the descriptor as an `add` or `remove` action holds it."""
        action = {
            "storageType": self.storage_type,
            "pathOrInlineDv": self.place,
            "sizeInBytes": self.size,
            "cardinality": self.cardinality,
        }
        return action if self.offset is None else {**action, "offset": self.offset}


class VectorWriter:
    """The vectors of one commit: those that are too big for the log go into one file."""

    def __init__(self) -> None:
        self._id = uuid4()
        self._content = bytearray(_FILE_VERSION)

    @property
    def file(self) -> tuple[str, bytes] | None:
        """Path and bytes of the file that the vectors need; None if all stand in the log."""
        if self._content == _FILE_VERSION:
            return None
        return f"deletion_vector_{self._id}.bin", bytes(self._content)

    def encode(self, positions: BitMap64) -> DeletionVector:
        """Return the vector of these row numbers; it is good once `file` is written."""
        data = _MAGIC + positions.serialize()
        if len(data) <= INLINE_BYTES:
            return DeletionVector(_INLINE, z85_encode(data), len(data), len(positions))
        offset = len(self._content)
        self._content += struct.pack(">i", len(data)) + data + struct.pack(">I", zlib.crc32(data))
        return DeletionVector(_RELATIVE, z85_encode(self._id.bytes), len(data), len(positions), offset)


def decode(vector: DeletionVector, read: Callable[[str], bytes]) -> BitMap64:
    """Return the row numbers of a vector; `read` returns the bytes of a file of the table.

    Raises:
        ValueError: if the vector is damaged or of a kind that only its writer can find.
    """
    if vector.storage_type == _INLINE:
        data = z85_decode(vector.place)[: vector.size]
    elif vector.path is not None:
        data = _cut(read(vector.path), vector)
    else:
        raise ValueError(f"deletion vector of storage type {vector.storage_type}")
    if data[:4] != _MAGIC:
        raise ValueError("damaged deletion vector")
    return BitMap64.deserialize(data[4:])


def _cut(content: bytes, vector: DeletionVector) -> bytes:
    """Cut a vector out of its file: size, data, checksum."""
    start = (vector.offset or 0) + 4
    data, checksum = content[start : start + vector.size], content[start + vector.size :][:4]
    if checksum != struct.pack(">I", zlib.crc32(data)):
        raise ValueError(f"damaged deletion vector in {vector.path}")
    return data


def z85_encode(data: bytes) -> str:
    """Write bytes in ZeroMQ's base 85, filled up with zero bytes to a multiple of four."""
    words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint64)
    encoded: bytes = _ALPHABET[words[:, None] // _PLACES % np.uint64(85)].tobytes()
    return encoded.decode("ascii")


def z85_decode(text: str) -> bytes:
    """Read what `z85_encode` wrote, filling included."""
    digits = _DIGITS[np.frombuffer(text.encode("ascii"), np.uint8)].reshape(-1, 5)
    data: bytes = (digits * _PLACES).sum(axis=1).astype(">u4").tobytes()
    return data
