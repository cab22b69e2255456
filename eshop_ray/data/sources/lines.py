"""Numbered lines, plain or JSON: what most formats are made of."""

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, cast

from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record

_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[")
_PEEKED = 4096
_BETWEEN = re.compile(r"[\s,]*")
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{}]')


def read_lines(stream: IO[bytes], path: str) -> Iterator[tuple[int, str] | Malformed]:
    """Yield (1-based number, text without its line end), blank lines included."""
    for number, line in enumerate(stream, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield Malformed(path, number, f"not UTF-8: {error.reason} at byte {error.start}")


def read_json_lines(stream: IO[bytes], path: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (1-based number, object) for each line that is not blank, or for each object of one JSON array."""
    buffered = as_buffered(stream)
    if begins_array(buffered):
        yield from _read_array(buffered.read().decode("utf-8-sig", "surrogateescape"), path)
        return
    for line in read_lines(buffered, path):
        if isinstance(line, Malformed):
            yield line
        elif line[1].strip():
            yield _parse_object(path, *line)


def begins_array(stream: io.BufferedReader) -> bool:
    """Whether what comes next is a JSON array; nothing is taken from the stream."""
    return _ARRAY.match(stream.peek(_PEEKED)) is not None


def as_buffered(stream: IO[bytes]) -> io.BufferedReader:
    """Return a stream that one may look ahead in."""
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))


def _read_array(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (number of the line where it begins, object); after a broken one go on at what looks like the next."""
    decoder = json.JSONDecoder()
    number, counted, position = 1, 0, text.index("[") + 1
    while True:
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        number, counted = number + text.count("\n", counted, position), position
        if position == len(text):
            yield Malformed(path, number, "the array is not closed: the file may have been cut")
            return
        if text[position] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield Malformed(path, number, f"not JSON: {error}")
            following = _skip_element(text, position)
            if following is None:
                yield Malformed(path, number, "what follows it cannot be told apart")
                return
            position = following
            continue
        is_readable = is_text(text[position:end])
        yield _check_object(path, number, value) if is_readable else Malformed(path, number, "not UTF-8")
        position = end


def _skip_element(text: str, start: int) -> int | None:
    """Return where to go on after a broken element of an array, None where nothing tells.

    Elements that begin on lines of their own are told apart by their indentation, others by their brackets.
    """
    line = text.rfind("\n", 0, start) + 1
    indent = text[line:start]
    if line and not indent.strip():
        following = re.compile(rf"\n{indent}(?=[\[{{])").search(text, start)
        return following.end() if following else None
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def read_objects(
    stream: IO[bytes],
    path: str,
    columns: Sequence[str],
    parse: Callable[[str, int, dict[str, Any]], Record | Malformed],
) -> Iterator[Record | Malformed]:
    """Yield what `parse` makes of (path, line, object) for each line of JSON.

    Raises:
        UserError: if a column is missing from the whole file: a single row may lack it, and is then malformed.
    """
    seen: set[str] = set()
    num_rows = 0
    for line in read_json_lines(stream, path):
        if isinstance(line, Malformed):
            yield line
            continue
        num_rows += 1
        seen.update(line[1])
        yield parse(path, *line)
    missing = [column for column in columns if column not in seen]
    if num_rows and missing:
        raise UserError(f"{path}: no row has {', '.join(missing)}; found {', '.join(sorted(seen)[:20])}")


def is_text(text: str) -> bool:
    """Whether the text can be stored: JSON escapes and undecodable bytes may leave halves of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_object(path: str, number: int, text: str) -> tuple[int, dict[str, Any]] | Malformed:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Malformed(path, number, f"not JSON: {error}")
    return _check_object(path, number, value)


def _check_object(path: str, number: int, value: Any) -> tuple[int, dict[str, Any]] | Malformed:
    if not isinstance(value, dict):
        return Malformed(path, number, f"expected a JSON object, found {type(value).__name__}")
    return number, value
