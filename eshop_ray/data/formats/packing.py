"""Packed files: gzip, bzip2, Zstandard and zip, told apart by their contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa

from eshop_ray.data.formats.limits import FREE_UNPACKED_BYTES, MAX_PACKED_RATIO
from eshop_ray.errors import UserError

_SIGNATURES = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_ZIP = b"PK\x03\x04"
_BUFFER_BYTES = 1 << 20
_NO_DATA = ("__MACOSX/", ".", "_")


@contextmanager
def unpack(stream: io.BufferedReader[Any], num_bytes: int, path: str) -> Iterator[IO[bytes]]:
    """Open the file within a packed one; a file that is not packed is opened as it is.

    Args:
        stream: The file, which can be sought in.
        num_bytes: Its size.
        path: The file's, for messages.

    Raises:
        UserError: if an archive holds no file or several, and, while it is read, beyond `MAX_PACKED_RATIO`.
    """
    head = stream.peek(4)[:4]
    codec = next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), None)
    if codec is not None:
        with pa.CompressedInputStream(stream, codec) as unpacked:
            yield _Counted(cast(IO[bytes], unpacked), num_bytes, path).buffered()
    elif head == _ZIP and (archive := _open_archive(stream, path)) is not None:
        with archive, archive.open(_get_member(archive, path)) as member:
            yield _Counted(member, num_bytes, path).buffered()
    else:
        yield stream


def check_ratio(num_packed: int, num_unpacked: int, path: str) -> None:
    """Refuse what grows beyond all that data does.

    Raises:
        UserError: naming the limit.
    """
    if num_unpacked > FREE_UNPACKED_BYTES and num_unpacked > MAX_PACKED_RATIO * num_packed:
        raise UserError(
            f"{path}: unpacks to more than {MAX_PACKED_RATIO} times its size (MAX_PACKED_RATIO), beyond what "
            "catalogues do; unpack it by hand if you trust it"
        )


class _Counted(io.RawIOBase):
    """Reads on while what was read stays in proportion to the packed size."""

    def __init__(self, stream: IO[bytes], num_packed: int, path: str) -> None:
        self.stream = stream
        self.num_packed = num_packed
        self.path = path
        self.num_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        self.num_read += len(content)
        check_ratio(self.num_packed, self.num_read, self.path)
        return len(content)

    def buffered(self) -> io.BufferedReader[Any]:
        return io.BufferedReader(self, _BUFFER_BYTES)


def _open_archive(stream: io.BufferedReader[Any], path: str) -> zipfile.ZipFile | None:
    """Return the archive, None for a workbook, which is one as well."""
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: cannot be unpacked: {error}; pack it anew") from error
    names = archive.namelist()
    if "[Content_Types].xml" in names or "mimetype" in names:
        stream.seek(0)
        return None
    return archive


def _get_member(archive: zipfile.ZipFile, path: str) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    names = [name for name in names if not name.rpartition("/")[2].startswith(_NO_DATA)]
    if len(names) != 1:
        found = ", ".join(names[:5]) or "none"
        raise UserError(f"{path}: an archive of one file is expected, found {found}; unpack it into a folder")
    return names[0]
