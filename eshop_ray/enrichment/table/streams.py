"""What the storage reads and writes, as the file objects that PyArrow wants."""

import hashlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # stubs only
    from obstore import ReadableFile, WritableFile


class Sink(io.RawIOBase):
    """A file in the making: knows the size and digest of what was written."""

    def __init__(self, writer: "WritableFile") -> None:
        self._writer = writer
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Digest of the bytes written so far."""
        return self._digest.hexdigest()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Pass bytes on and return how many they are."""
        view = memoryview(data)
        self._digest.update(view)
        self._writer.write(view)
        self.size += len(view)
        return len(view)


class RandomReader(io.RawIOBase):
    """An object store's reader as the file that PyArrow wants."""

    def __init__(self, reader: "ReadableFile") -> None:
        self._reader = reader

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """Return the place reached."""
        return self._reader.tell()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, by default all that remain."""
        return bytes(self._reader.readall() if size < 0 else self._reader.read(size))
