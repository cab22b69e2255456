"""The input file in chunks: looked through once, in order, then read again by whoever answers a chunk."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eshop_ray.data.files import open_bytes, read_range
from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.requests import RefusedError, digest_custom_id, parse_line, read_custom_id
from eshop_ray.places import show

CHUNK_BYTES = 4 << 20
"""A chunk of long lines ends with the one that passes this."""

PACKED = (".gz", ".bz2", ".zst", ".lz4", ".zip", ".xz")

MAX_MODELS = 100
"""Names of models that are told apart."""

BLANK = bytes(16)
"""Key of a line that asks for nothing."""

Keys = NDArray[np.bytes_]
"""16 bytes per line, that is 16 MB for 10^6."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines, blank ones included."""

    start: int
    """First byte."""
    num_bytes: int
    first_line: int
    """1-based."""
    num_lines: int
    checksum: int
    """CRC-32, by which a file that changes meanwhile is noticed."""


@dataclass(frozen=True, slots=True)
class Source:
    """What one look through the input file tells."""

    path: str
    digest: str
    """SHA-256 of the bytes."""
    keys: Keys
    """Per line: the digest of its `custom_id`, one of its own where it has none, or `BLANK`."""
    chunks: list[Chunk]
    models: Counter[str | None]
    """Value of `body.model` -> requests; of further ones than `MAX_MODELS` only these are counted."""


def scan_source(path: str, lines_per_chunk: int) -> Source:
    """Look through a file, in constant memory but for the keys.

    Raises:
        UserError: if it cannot be read, or is packed: its chunks could not be read by themselves.
    """
    if path.partition("?")[0].endswith(PACKED):
        raise UserError(f"{show(path)}: is packed; unpack it first: its parts are read at the same time")
    digest = hashlib.sha256()
    keys = bytearray()
    chunks: list[Chunk] = []
    models: Counter[str | None] = Counter()
    with open_bytes(path) as stream:
        start, num_bytes, first, checksum, number = 0, 0, 1, 0, 0
        for number, line in enumerate(stream, start=1):
            digest.update(line)
            key, body = look_at(line, number)
            keys += key
            model = body.get("model") if isinstance(body, dict) else None
            model = model if isinstance(model, str) else None
            if body is not None and (model in models or len(models) < MAX_MODELS):
                models[model] += 1
            num_bytes, checksum = num_bytes + len(line), zlib.crc32(line, checksum)
            if number - first + 1 == lines_per_chunk or num_bytes >= CHUNK_BYTES:
                chunks.append(Chunk(start, num_bytes, first, number - first + 1, checksum))
                start, num_bytes, first, checksum = start + num_bytes, 0, number + 1, 0
        if num_bytes:
            chunks.append(Chunk(start, num_bytes, first, number - first + 1, checksum))
    return Source(path, digest.hexdigest(), np.frombuffer(keys, "S16"), chunks, models)


def look_at(line: bytes, number: int) -> tuple[bytes, Any]:
    """Return a line's key, and the body of the request, None where there is none."""
    if not line.strip():
        return BLANK, None
    try:
        request = parse_line(line)
        return digest_custom_id(read_custom_id(request)), request.get("body")
    except RefusedError:
        return hashlib.blake2b(str(number).encode(), digest_size=16, person=b"no custom_id").digest(), None


def read_chunk(path: str, chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based number, line) of a chunk.

    Raises:
        UserError: if the file cannot be read, or is no longer the one that was looked through.
    """
    content = read_range(path, chunk.start, chunk.num_bytes)
    if zlib.crc32(content) != chunk.checksum:
        raise UserError(f"{show(path)}: changed while it was being answered; begin anew, with a new output")
    yield from enumerate(content.removesuffix(b"\n").split(b"\n"), chunk.first_line)
