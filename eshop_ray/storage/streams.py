"""What the storage reads, as the file object that PyArrow wants."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # stubs only
    from _typeshed import WriteableBuffer
    from obstore import ReadableFile


class StreamError(OSError):
    """What an object store said while it was read: PyArrow calls bytes that it cannot read an `OSError` too."""


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

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill a buffer as far as there are bytes, and return how many there were."""
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, by default all that remain.

        Raises:
            StreamError: if the storage cannot be read.
        """
        try:
            return bytes(self._reader.readall() if size < 0 else self._reader.read(size))
        except OSError as error:
            raise StreamError(*error.args) from error
