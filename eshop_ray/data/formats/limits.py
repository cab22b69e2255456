"""What a file may not exceed: what is larger is a mistake or an attack, and either would take the machine down."""

import mmap
from tempfile import TemporaryFile
from typing import IO

from eshop_ray.errors import UserError

MAX_RECORD_CHARACTERS = 64_000_000
"""`MAX_RECORD_CHARACTERS`: a record longer than this is refused."""
MAX_DOCUMENT_BYTES = 1 << 30
"""`MAX_DOCUMENT_BYTES`: a file that can only be read as a whole may have this size, unpacked."""
MAX_MAPPED_BYTES = 1 << 36
"""`MAX_MAPPED_BYTES`: a file that is read through a copy on the local disk may have this size, unpacked."""
HELD_BYTES = 1 << 24
"""What is read through no copy."""
BLOCK_BYTES = 1 << 20
MAX_EXPANDED_NODES = 5_000_000
"""`MAX_EXPANDED_NODES`: values of a YAML document, each alias counted as often as it is used."""
MAX_PACKED_RATIO = 200
"""`MAX_PACKED_RATIO`: how many times larger than its packed form a file may be, beyond `FREE_UNPACKED_BYTES`."""
FREE_UNPACKED_BYTES = 1 << 28
"""What any packed file may grow to."""


def read_document(stream: IO[bytes], path: str) -> bytes:
    """Return all bytes of a file that can only be read as a whole.

    Raises:
        UserError: if it is larger than `MAX_DOCUMENT_BYTES`.
    """
    content = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise UserError(
            f"{path}: larger than {MAX_DOCUMENT_BYTES:,} bytes (MAX_DOCUMENT_BYTES), and in this format a file is read "
            "as a whole; export it as JSON Lines or CSV, or in several files"
        )
    return content


def map_document(stream: IO[bytes], path: str) -> bytes | mmap.mmap:
    """Return all bytes of a file in which a reader goes back and forth, those of a large one from a temporary copy.

    Raises:
        UserError: if it is larger than `MAX_MAPPED_BYTES`.
    """
    content = stream.read(HELD_BYTES + 1)
    if len(content) <= HELD_BYTES:
        return content
    with TemporaryFile() as copy:
        while content:
            copy.write(content)
            if copy.tell() > MAX_MAPPED_BYTES:
                raise UserError(
                    f"{path}: larger than {MAX_MAPPED_BYTES:,} bytes (MAX_MAPPED_BYTES); export it as several files"
                )
            content = stream.read(BLOCK_BYTES)
        copy.flush()
        return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)


def release(content: bytes | mmap.mmap, end: int) -> None:
    """Let go of the memory that the beginning of a mapped file takes; it can still be read."""
    whole = end // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(content, mmap.mmap) and whole:
        content.madvise(mmap.MADV_DONTNEED, 0, whole)
