"""JSON: one object a line, one array, or a document with a list of rows somewhere within."""

import codecs
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa

from eshop_ray.data.formats.encodings import as_buffered, decode_text, find_mark
from eshop_ray.data.formats.limits import MAX_RECORD_CHARACTERS, read_document
from eshop_ray.data.formats.text_blocks import BLOCK_BYTES, Blocks, TextBlock
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, is_text

WRAPPERS = ("products", "items", "entries", "records", "rows", "nodes", "edges", "results", "data", "@graph")
"""Keys under which interfaces and exports keep their list."""
INNER = ("product", "node", "item", "_source")
"""Keys under which an element of such a list may keep the row itself."""

_ARRAY = re.compile(rb"\s*\[")
_OBJECT = re.compile(rb"\s*\{")
_WRAPPED = re.compile(
    rb'\{\s*(?:"[^"]{0,60}"\s*:\s*(?:"[^"]*"|[\w.+-]+|\{[^\[\]]{0,4000}?\})\s*,\s*){0,9}"(?:_embedded|'
    + b"|".join(re.escape(name.encode()) for name in WRAPPERS)
    + rb')"\s*:\s*[\[{]'
)
"""An object's beginning up to a list of rows."""
_COLON = re.compile(r"\s*:")
_NAMING = ('"name"', '"title"', '"sku"', '"id"')
_OF_A_ROW = re.compile(rb'"(?:name|title|sku|id)"\s*:')
_PEEKED = 1 << 16
_NUMBER = re.compile(r"[-+\w.]*")
"""What may follow the beginning of a number."""
_BETWEEN = re.compile(r"[\s,]*")
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{}]')
_MAX_SHOWN_LEVELS = 4

WINDOW_BYTES = 1 << 20
"""Of an array or a document that are read at a time."""


def read_json(stream: IO[bytes], path: str, records: str | None = None) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based line where it begins, object) for each row.

    Args:
        stream: The file's bytes, unpacked; UTF-8, or UTF-16 with its mark.
        path: The file's, for messages.
        records: Key of the list in a document, dotted; None: the first of `WRAPPERS`.

    Raises:
        UserError: if a document has no list of rows, or is too large to be read as a whole.
    """
    lines = _find_lines(buffered := as_buffered(stream), path, records)
    return _read_lines(buffered, path) if lines is None else lines


def read_json_blocks(
    stream: IO[bytes], path: str, records: str | None, texts: Sequence[str], scalars: Sequence[str]
) -> Blocks:
    """Yield what `read_json` does, by the block where one object stands on each line.

    Args:
        stream: As for `read_json`.
        path: As for `read_json`.
        records: As for `read_json`.
        texts: Wanted columns that hold text.
        scalars: Wanted columns that hold text or whole numbers.
    """
    lines = _find_lines(buffered := as_buffered(stream), path, records)
    return _read_line_blocks(buffered, path, texts, scalars) if lines is None else lines


def _find_lines(
    buffered: io.BufferedReader, path: str, records: str | None
) -> Iterator[tuple[int, Row] | Malformed] | None:
    """Return the rows of an array or a document; None where one object stands on each line in UTF-8."""
    sample = buffered.peek(_PEEKED)[:_PEEKED]
    encoding = find_mark(sample) or "utf-8"
    head = codecs.getincrementaldecoder(encoding)("replace").decode(sample).encode("utf-8", "replace")
    if _ARRAY.match(head):
        window = Window(buffered, path, encoding)
        while "[" not in window.text and window.grow(0) is not None:
            pass
        return _read_array(window, window.text.index("[") + 1, path)
    if _OBJECT.match(head) and (records or not _is_lines(head)):
        return _read_document(Window(buffered, path, encoding), path, records)
    if encoding.startswith("utf-8"):
        return None
    return _read_lines(io.BytesIO(decode_text(read_document(buffered, path)).encode()), path)


def read_lines(stream: IO[bytes], path: str) -> Iterator[tuple[int, str] | Malformed]:
    """Yield (1-based number, text without its line end), blank lines included."""
    number = 0
    while line := stream.readline(MAX_RECORD_CHARACTERS):
        number += 1
        yield _decode_line(line, stream, path, number)


def _is_lines(head: bytes) -> bool:
    """Whether what begins with an object has one object a line, rather than one object on several lines."""
    first, end, rest = head.lstrip().partition(b"\n")
    wrapped = _WRAPPED.match(first)
    if not rest.strip() and wrapped and not _OF_A_ROW.search(wrapped[0]):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # A broken object on a line of its own, or an object's first line: the next line tells.
        return not end or _OBJECT.match(rest) is not None or first.rstrip().endswith(b"}")
    return True


def _read_line_blocks(stream: IO[bytes], path: str, texts: Sequence[str], scalars: Sequence[str]) -> Blocks:
    """Yield lines by the block; those of a block that is not all objects with such columns, one by one."""
    import msgspec

    names = [*texts, *scalars]
    if any(mark in name for name in names for mark in '"\\'):  # no name that a decoder takes
        yield from _read_lines(stream, path)
        return
    kinds = [str | None] * len(texts) + [str | int | None] * len(scalars)
    fields = [(f"_{place}", kind, None) for place, kind in enumerate(kinds)]
    renamed = {field[0]: name for field, name in zip(fields, names, strict=True)}
    decoder = msgspec.json.Decoder(msgspec.defstruct("Wanted", fields, rename=renamed))
    number = 0
    for content in _cut_blocks(stream):
        lines = content.removesuffix(b"\n").split(b"\n")
        try:
            rows = _decode_block(content, lines, decoder)
        except (msgspec.DecodeError, ValueError, RecursionError):
            yield from _read_lines(io.BytesIO(content), path, number)
        else:
            columns = {name: _to_texts([getattr(row, field) for row in rows]) for field, name in renamed.items()}
            yield TextBlock(columns, np.arange(number + 1, number + 1 + len(lines)))
        number += len(lines)


def _decode_block(content: bytes, lines: Sequence[bytes], decoder: Any) -> list[Any]:
    """Return the object of each line.

    Raises:
        ValueError: if a line is none, is too long, or not UTF-8, be it in a column that is not wanted.
    """
    if not content.isascii():
        content.decode()
    if max(map(len, lines)) >= MAX_RECORD_CHARACTERS:
        raise ValueError("too long")
    decode = decoder.decode
    return [decode(line) for line in lines]


def _to_texts(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:  # whole numbers among them
        return pa.array([value if value is None else str(value) for value in values], pa.string())


def _cut_blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield whole lines, many at a time; a line may be longer than any block."""
    held: list[bytes] = []
    while content := stream.read(BLOCK_BYTES):
        cut = content.rfind(b"\n") + 1
        if cut:
            yield b"".join((*held, content[:cut]))
            held = []
        elif sum(map(len, held)) > MAX_RECORD_CHARACTERS:
            continue  # a line of such a length is refused, however it ends
        held.append(content[cut:])
    if any(held):
        yield b"".join(held)


def _read_lines(stream: IO[bytes], path: str, number: int = 0) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield a line's object by the line, `number` lines being before the first."""
    import msgspec  # most processes read no JSON

    decode, readline = msgspec.json.Decoder(dict).decode, stream.readline
    while line := readline(MAX_RECORD_CHARACTERS):
        number += 1
        try:
            yield number, decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            # Also what Python's own parser takes: NaN, halves of characters, numbers that are too large.
            text = _decode_line(line, stream, path, number)
            if isinstance(text, Malformed):
                yield text
            elif text[1].strip():
                yield _parse_object(path, *text)


def _decode_line(line: bytes, stream: IO[bytes], path: str, number: int) -> tuple[int, str] | Malformed:
    if len(line) == MAX_RECORD_CHARACTERS and not line.endswith(b"\n"):
        while (rest := stream.readline(MAX_RECORD_CHARACTERS)) and not rest.endswith(b"\n"):
            pass
        return Malformed(path, number, f"a line of more than {MAX_RECORD_CHARACTERS:,} bytes (MAX_RECORD_CHARACTERS)")
    try:
        return number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Malformed(path, number, f"not UTF-8: {error.reason} at byte {error.start}")


class Window:
    """The part of a text that is being read: it grows at its end, and what has been read is dropped."""

    def __init__(self, stream: IO[bytes], path: str, encoding: str) -> None:
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        self.text = ""
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._stream, self._path = stream, path
        self._is_whole = False
        self._add(WINDOW_BYTES)

    def grow(self, position: int) -> int | None:
        """Add more text, and return where the position is now; None if there is no more, or too much for one record.

        Of what is before the position only the blanks that its line begins with are kept.
        """
        if self._is_whole or len(self.text) - position > MAX_RECORD_CHARACTERS:
            return None
        line = self.text.rfind("\n", 0, position)
        kept = line if line >= 0 and self.text[line:position].isspace() else position
        self.text = self.text[kept:]
        self._add(max(WINDOW_BYTES, len(self.text)))
        return position - kept

    def fill(self) -> str:
        """Return all of the text, of which nothing has been dropped yet.

        Raises:
            UserError: if that is too much.
        """
        if not self._is_whole:
            self.text += self._decoder.decode(read_document(self._stream, self._path), final=True)
            self._is_whole = True
        return self.text

    def _add(self, num_bytes: int) -> None:
        content = self._stream.read(num_bytes)
        self._is_whole = len(content) < num_bytes
        self.text += self._decoder.decode(content, final=self._is_whole)


def _read_document(window: Window, path: str, records: str | None) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield the rows of a document's list, or the document itself as the one row if it has none."""
    names = [records.rpartition(".")[2]] if records else WRAPPERS
    is_list = re.compile(rf'"(?:{"|".join(map(re.escape, names))})"\s*:\s*\[(?=\s*[{{\]])')
    start = is_list.search(window.text) or is_list.search(window.fill())
    if start is not None and (records or not _is_within_row(window.text, start.start())):
        yield from _read_array(window, start.end(), path)
        return
    text = window.fill()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: begins like a JSON document but is none: {error}") from error
    if records:
        raise UserError(f"{path}: no list of rows under `{records}`; found {', '.join(_list_keys(value))[:300]}")
    yield _check_object(path, 1, value)


def _is_within_row(text: str, end: int) -> bool:
    """Whether the outermost object names itself, as rows do, before a place in it."""
    depth = 0
    for token in _TOKEN.finditer(text, 0, end):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 1 and token[0] in _NAMING and _COLON.match(text, token.end()):
            return True
    return False


def _list_keys(value: Any, prefix: str = "", level: int = 0) -> Iterator[str]:
    """Yield the dotted keys of a document's lists, and of its objects down to some level."""
    if isinstance(value, dict) and level < _MAX_SHOWN_LEVELS:
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                yield prefix + key
            yield from _list_keys(inner, f"{prefix}{key}.", level + 1)


def _read_array(window: Window, position: int, path: str) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (number of the line where it begins, object); after a broken one go on at what looks like the next."""
    decoder = json.JSONDecoder()
    number, counted = 1, 0
    while True:
        text = window.text
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        number, counted = number + text.count("\n", counted, position), position
        value, end, trouble = _decode(decoder, text, position)
        may_go_on = _NUMBER.match(text, end).end() == len(text)  # type: ignore[union-attr]
        if may_go_on and (moved := window.grow(position)) is not None:
            position = counted = moved
            continue
        if position == len(text):
            yield Malformed(path, number, "the array is not closed: the file may have been cut")
            return
        if text[position] == "]":
            return
        if trouble:
            yield Malformed(path, number, f"not JSON: {trouble}")
            following = _skip_element(text, position)
            if following is None:
                yield Malformed(path, number, "what follows it cannot be told apart")
                return
            position = following
            continue
        is_readable = is_text(text[position:end])
        yield _check_object(path, number, _unwrap(value)) if is_readable else Malformed(path, number, "not UTF-8")
        position = end


def _decode(decoder: json.JSONDecoder, text: str, position: int) -> tuple[Any, int, str | None]:
    """Return the value that begins here, its end, and what is wrong with it; its end is the text's then."""
    if text[position : position + 1] in ("", "]"):
        return None, position, None
    try:
        return *decoder.raw_decode(text, position), None
    except json.JSONDecodeError as error:
        return None, len(text), f"{error.msg}, {error.pos - position} characters into it"
    except (ValueError, RecursionError) as error:
        return None, len(text), f"{error}"


def _unwrap(value: Any) -> Any:
    """Return the row that an element of a list holds under one of `INNER`, or the element itself."""
    if not isinstance(value, dict) or value.keys() & {"name", "title", "sku"}:
        return value
    return next((value[name] for name in INNER if isinstance(value.get(name), dict)), value)


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


def _parse_object(path: str, number: int, text: str) -> tuple[int, Row] | Malformed:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Malformed(path, number, f"not JSON: {error}")
    return _check_object(path, number, value)


def _check_object(path: str, number: int, value: Any) -> tuple[int, Row] | Malformed:
    if not isinstance(value, dict):
        return Malformed(path, number, f"expected a JSON object, found {type(value).__name__}")
    return number, value
