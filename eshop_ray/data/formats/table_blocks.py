"""Tables as text, by blocks of whole records: the fast road for what is well-formed.

Polars parses a block. Where it refuses, or what it found does not account for every line, nothing of the block is
taken, and `delimited` finds out record by record what is broken.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

from eshop_ray.data.formats.limits import MAX_RECORD_CHARACTERS
from eshop_ray.data.formats.table_lines import Lines, PlainLines

BLOCK_BYTES = 1 << 23
MAX_AHEAD = 3
"""Blocks that are parsed before they are asked for."""
_CACHED_BYTES = 1 << 18
_QUOTE, _LINE_END, _RETURN = b'"\n\r'


@dataclass(frozen=True, slots=True)
class Block:
    """Records that were read at once."""

    table: pl.DataFrame
    """One column of text for each column of the file that has a name."""
    lines: np.ndarray
    """Line where each record begins: of the block, its first being 0, or of the file, where it comes from a reader."""
    num_lines: int


@cache
def _load_polars() -> Any:
    """Import Polars when the first block comes: most processes read none, and it takes a fifth of a second."""
    os.environ.setdefault("POLARS_MAX_THREADS", "4")  # of each process; Ray has one per core
    import polars

    return polars


def find_cut(content: bytes) -> int:
    """Return how many bytes at the beginning are whole records, as far as quotes that come in pairs tell; 0: none."""
    end = len(content)
    num_quotes = _count(np.frombuffer(content, np.uint8), _QUOTE)
    while True:
        line_end = content.rfind(b"\n", 0, end)
        if line_end < 0:
            return 0
        num_quotes -= content.count(b'"', line_end, end)
        if num_quotes % 2 == 0:
            return line_end + 1
        end = content.rfind(b'"', 0, line_end)
        num_quotes -= 1


def count_lines(content: bytes) -> int:
    """Return how many lines end in a block; its last one may have no end."""
    num_ends = content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
    return num_ends + (content[-1:] not in (b"\n", b"\r"))


def parse_block(content: bytes, delimiter: str, header: Sequence[str]) -> Block | None:
    """Return the records of a block, None if there may be a broken one among them.

    Args:
        content: Whole records in UTF-8.
        delimiter: One ASCII character.
        header: Names of all columns, empty for those that are left out.
    """
    data = np.frombuffer(content, np.uint8)
    if b"\r" in content and _count(data, _RETURN) != np.count_nonzero((data[:-1] == _RETURN) & (data[1:] == _LINE_END)):
        return None
    quotes = _find(data, _QUOTE)
    if not _are_paired(quotes, data, ord(delimiter)):
        return None
    polars = _load_polars()
    places = [f"{place}" for place in range(len(header))]
    try:
        table = polars.read_csv(
            content,
            has_header=False,
            schema=dict.fromkeys(places, polars.String),
            separator=delimiter,
            infer_schema=False,
        )
    except polars.exceptions.PolarsError:
        return None
    if not _is_complete(table, data, delimiter):
        return None
    if len(quotes):
        num_lines, lines = _number_records(data, quotes)
    else:
        num_lines = _count(data, _LINE_END) + (content[-1:] != b"\n")
        lines = np.arange(num_lines)
    if len(lines) != table.height:
        return None
    named = {place: name for place, name in zip(places, header, strict=True) if name}
    return Block(table.select(list(named)).rename(named).fill_null(""), lines, num_lines)


def _are_paired(quotes: np.ndarray, data: np.ndarray, delimiter: int) -> bool:
    """Whether every quote opens a field where one begins, closes it where it ends, or stands twice within.

    Polars overlooks some that do not. A blank before a quote counts as well: what follows it is read in another way.
    """
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before, after = data[opening - 1], data[np.minimum(closing + 1, len(data) - 1)]
    begins = (opening == 0) | (before == delimiter) | (before == _LINE_END) | (before == _QUOTE)
    ends = (after == delimiter) | (after == _LINE_END) | (after == _RETURN) | (after == _QUOTE)
    return bool(begins.all() and (ends | (closing == len(data) - 1)).all())


def _find(data: np.ndarray, character: int) -> np.ndarray:
    """Return where a character stands, in half the time of `flatnonzero`: eight bytes without it are one step."""
    found = []
    for start, part in _slice(data):
        is_it = part == character
        num_whole = len(part) // 8 * 8
        words = np.flatnonzero(is_it[:num_whole].view(np.uint64) != 0)
        places = np.flatnonzero(is_it[:num_whole].reshape(-1, 8)[words])
        found.append((words[places >> 3] << 3) + (places & 7) + start)
        found.append(np.flatnonzero(is_it[num_whole:]) + (start + num_whole))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _is_complete(table: pl.DataFrame, data: np.ndarray, delimiter: str) -> bool:
    """Whether every record has all its fields: one that is too short, a blank line too, is filled up with nulls.

    An empty last field is null as well. Where there is one, the delimiters have to be as many as the records ask for.
    """
    if not table.to_series(-1).null_count():
        return True
    num_within = sum(int(column.str.count_matches(delimiter, literal=True).sum()) for column in table)
    return _count(data, ord(delimiter)) == table.height * (table.width - 1) + num_within


def _count(data: np.ndarray, character: int) -> int:
    """Return how often a character comes, in a tenth of the time that `bytes.count` takes for one that comes often."""
    return sum(int(np.count_nonzero(part == character)) for _, part in _slice(data))


def _slice(data: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield parts that fit into a processor's cache, with where they begin: what is computed of them stays there."""
    for start in range(0, len(data), _CACHED_BYTES):
        yield start, data[start : start + _CACHED_BYTES]


def _number_records(data: np.ndarray, quotes: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many lines there are, and where each record begins: after an end of a line outside of quotes.

    Args:
        data: Whole records.
        quotes: Where quotes stand.
    """
    ends = _find(data, _LINE_END)
    has_end = bool(len(ends)) and int(ends[-1]) == len(data) - 1
    starts = np.concatenate([[0], np.flatnonzero(np.searchsorted(quotes, ends) % 2 == 0) + 1])
    return len(ends) + (not has_end), starts[:-1] if has_end else starts


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records, and what becomes of them."""

    content: bytes
    block: Future[Block | None]


class Pieces:
    """Cuts a file into pieces of whole records, and has some of them parsed ahead."""

    def __init__(self, plain: PlainLines, parse: Callable[[bytes], Block | None], pool: ThreadPoolExecutor) -> None:
        """Begin nowhere: `restart` says where.

        Args:
            plain: The file.
            parse: Content -> its block.
            pool: Where that runs.
        """
        self._plain = plain
        self._parse = parse
        self._pool = pool
        self._held = b""
        self._ahead: deque[Piece] = deque()

    def restart(self, lines: Lines) -> None:
        """Go on where lines that were read one by one stopped."""
        self._held = lines.take_back() + self._plain.take_back()

    def take(self) -> Piece | None:
        """Return the next piece, None after the last."""
        while len(self._ahead) < MAX_AHEAD and (content := self._cut()):
            self._ahead.append(Piece(content, self._pool.submit(self._parse, content)))
        return self._ahead.popleft() if self._ahead else None

    def put_back(self, piece: Piece) -> None:
        """Have a piece, and all that follow it, read line by line."""
        later = b"".join(other.content for other in self._ahead)
        self._plain.put_back(piece.content + later + self._held)
        self._ahead.clear()
        self._held = b""

    def _cut(self) -> bytes:
        stream = self._plain.stream
        while content := self._held + stream.read(max(BLOCK_BYTES - len(self._held), 0)):
            is_last = len(content) < BLOCK_BYTES
            content += b"" if is_last else stream.readline(MAX_RECORD_CHARACTERS)
            cut = len(content) if is_last else find_cut(content)
            if cut == 0 and len(content) < MAX_RECORD_CHARACTERS and (more := stream.read(len(content))):
                self._held = content + more
                continue
            self._held = content[cut or len(content) :]
            return content[: cut or len(content)]
        return b""
