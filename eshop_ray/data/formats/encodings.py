"""In which encoding a text is written, found out from how it begins."""

import codecs
import io
import re
from collections.abc import Iterator
from typing import IO, cast

SAMPLE_BYTES = 1 << 20
WESTERN = "cp1252"
LEGACY = (WESTERN, "cp1250", "cp1251", "cp932", "gb18030", "big5", "cp949")
"""What shops' exports are written in if not in Unicode: western, central European and Cyrillic Windows, and what
Windows writes in Japan, China, Taiwan and Korea."""

MAX_LINES = 2000
_NOT_WESTERN = re.compile(r"[À-ÿ]{3}|[^\W\d_](?:ƒ|[^\w\s\x00-\x7f\u2019\u2013\u2014·])+[^\W\d_]")
"""Three accented letters in a row, or a sign within a word."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, those first that begin with another."""


def detect_encoding(sample: bytes) -> str:
    """Return the encoding that a text's mark tells, UTF-8 if at least half of its lines that are not ASCII can be that,
    or else the likeliest of `LEGACY`.
    """
    if name := find_mark(sample):
        return name
    telling = [line for line in sample.splitlines(keepends=True) if not line.isascii()][:MAX_LINES]
    num_utf8 = sum(map(_is_utf8, telling))
    return "utf-8" if 2 * num_utf8 >= len(telling) else _guess_legacy(b"".join(telling))


def find_mark(sample: bytes) -> str | None:
    """Return the encoding that a text's byte order mark tells."""
    return next((name for mark, name in _MARKS if sample.startswith(mark)), None)


def as_buffered(stream: IO[bytes]) -> io.BufferedReader:
    """Return a stream that one may look ahead in."""
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))


def decode_text(content: bytes) -> str:
    """Return a text in Unicode, without its mark; bytes that mean nothing become halves of characters."""
    encoding = find_mark(content) or "utf-8"
    return content.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "replace")


def decode_lines(stream: IO[bytes], encoding: str | None = None) -> Iterator[str]:
    """Yield a text's lines with their ends, which may be of any kind.

    Bytes that mean nothing become halves of characters, by which the record is told; where an encoding has no way to
    say that (UTF-16 and UTF-32) they become the replacement character.
    """
    buffered = as_buffered(stream)
    encoding = encoding or detect_encoding(buffered.peek(SAMPLE_BYTES)[:SAMPLE_BYTES])
    is_wide = encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    errors = "replace" if is_wide else "surrogateescape"
    yield from io.TextIOWrapper(buffered, encoding, errors, newline="")


def _is_utf8(line: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line)  # the last one may have been cut within a character
    except UnicodeDecodeError:
        return False
    return True


def _guess_legacy(text: bytes) -> str:
    """Western, unless a language of another encoding is recognised or the letters make no western words."""
    from charset_normalizer import from_bytes  # few files need it

    best = from_bytes(text, cp_isolation=list(LEGACY)).best()
    if best is None or WESTERN in best.could_be_from_charset:
        return WESTERN
    if not best.coherence and not _NOT_WESTERN.search(text.decode(WESTERN, "replace")):
        return WESTERN
    return best.encoding
