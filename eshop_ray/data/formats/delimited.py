"""Tables as text, one record after the other: a broken one costs itself and nothing that follows.

A quote that is not closed takes in whatever comes next, up to another quote or the file's end. What it took in is read
anew, from the line after the one where its record began.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Literal

import pyarrow as pa

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.encodings import SAMPLE_BYTES, as_buffered, decode_lines, detect_encoding
from eshop_ray.data.formats.limits import MAX_RECORD_CHARACTERS
from eshop_ray.data.formats.table_blocks import Block, Pieces, count_lines, parse_block
from eshop_ray.data.formats.table_lines import Lines, PlainLines
from eshop_ray.data.formats.text_blocks import TextBlock
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, is_text

DELIMITERS = (",", ";", "\t", "|")
NUM_THREADS = 2
"""Of one file that is read; Polars has its own besides."""
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*")
"""What spreadsheets put before the header."""
_QUOTED = re.compile(r'"[^"]*"')
UNCLOSED = "a quote that is not closed"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table is written."""

    delimiter: str = ","
    quote: str | None = '"'
    """None: quotes are text like any other."""
    escape: str | None = None
    """What stands before a quote within a field; None: such a quote is written twice."""

    def parse(self, text: str) -> list[str]:
        """Return the fields of one record.

        Raises:
            csv.Error: if a quote is open at the end, or text follows a closing one.
        """
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        reader = csv.reader(
            [text],
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=quoting,
            escapechar=self.escape,
            doublequote=self.escape is None,
            strict=True,
        )
        return next(reader)

    def is_padded(self, lines: Sequence[str]) -> bool:
        """Whether blanks may stand between a delimiter and a quote; a parser takes such quotes for text."""
        marks = (f"{self.delimiter} {self.quote}", f"{self.delimiter}\t{self.quote}")
        return self.quote is not None and any(mark in line for line in lines for mark in marks)

    def parse_padded(self, text: str) -> list[str]:
        """Return the fields of a record whose quotes have blanks around them, none if they are not its trouble."""
        if not self.quote or self.escape:
            return []
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        quoted = rf"[ \t]*{quote}((?:[^{quote}]|{quote}{quote})*){quote}[ \t]*"
        field = re.compile(rf"(?:{quoted}|([^{quote}{delimiter}\r\n]*))(?:({delimiter})|[\r\n]*\Z)")
        fields: list[str] = []
        position = 0
        while match := field.match(text, position):
            fields.append(match[1].replace(self.quote * 2, self.quote) if match[1] is not None else match[2])
            position = match.end()
            if match[3] is None:
                return fields
        return []

    @property
    def is_usual(self) -> bool:
        """Whether blocks of such a table can be parsed at once."""
        return self.quote == '"' and self.escape is None and self.delimiter.isascii()

    def count_quotes(self, text: str) -> int:
        """Return how many quotes a text has that may open or close a field."""
        if not self.quote:
            return 0
        return text.count(self.quote) - (text.count(self.escape + self.quote) if self.escape else 0)


@dataclass(frozen=True, slots=True)
class _Taken:
    """One record's lines and what they hold: its fields, or the reason why they cannot be told."""

    number: int
    lines: Sequence[str]
    fields: Sequence[str]
    reason: str | None = None


def read_table(
    stream: IO[bytes], path: str, options: FileOptions | None = None
) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (number of the record's first line, column -> text) for each record below the header.

    Columns without a name, such as the index that pandas writes, are left out; blank lines are passed over.

    Args:
        stream: The file's bytes, unpacked.
        path: The file's, for messages.
        options: What header and contents do not tell.

    Raises:
        UserError: if the header cannot be read or names a column twice.
    """
    for found in read_blocks(stream, path, options):
        if isinstance(found, Block):
            yield from zip(found.lines.tolist(), found.table.to_dicts(), strict=True)
        else:
            yield found


def read_blocks(
    stream: IO[bytes], path: str, options: FileOptions | None = None
) -> Iterator[Block | tuple[int, Row] | Malformed]:
    """Yield what `read_table` does, well-formed records by the block."""
    csv.field_size_limit(MAX_RECORD_CHARACTERS)
    options = options or FileOptions()
    buffered = as_buffered(stream)
    sample = buffered.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
    encoding = options.encoding or detect_encoding(sample)
    is_plain = _is_utf8(encoding) and (b"\n" in sample or b"\r" not in sample)
    plain = PlainLines(buffered)
    lines = Lines(plain if is_plain else decode_lines(buffered, encoding))
    dialect = find_dialect(lines, options)
    first = _take_record(lines, dialect)
    if first is None:
        return
    header = _read_header(first, path)
    table = _Table(path, dialect, header, lines)
    if is_plain and dialect.is_usual and len(header) > 1:
        yield from _read_by_blocks(table, plain)
    else:
        yield from table.read_records()


def read_table_blocks(
    stream: IO[bytes], path: str, options: FileOptions | None, names: Sequence[str]
) -> Iterator[TextBlock | tuple[int, Row] | Malformed]:
    """Yield what `read_table` does, well-formed records by the block, with the columns of these names."""
    for found in read_blocks(stream, path, options):
        if isinstance(found, Block):
            held = [name for name in names if name in found.table.columns]
            yield TextBlock({name: found.table[name].to_arrow().cast(pa.string()) for name in held}, found.lines)
        else:
            yield found


def sniff_delimiter(header: str) -> str:
    """Return what most often stands between a header's names; a comma where nothing does."""
    bare = _QUOTED.sub("", header)
    return max(DELIMITERS, key=bare.count)


def find_dialect(lines: Lines, options: FileOptions) -> Dialect:
    """Return how a table is written, by its first line, which is left there unless it says nothing else."""
    first = (lines.take() or "").removeprefix("\ufeff")
    declared = _SEPARATOR_LINE.fullmatch(first)
    if not declared and first:
        lines.give_back([first])
    quote = '"' if options.quote is None else options.quote or None
    delimiter = options.delimiter or (declared[1] if declared else sniff_delimiter(first))
    return Dialect(delimiter, quote, options.escape)


@dataclass(slots=True)
class _Table:
    """What is below a header."""

    path: str
    dialect: Dialect
    header: Sequence[str]
    lines: Lines

    def read_records(self, until: int | None = None) -> Iterator[tuple[int, Row] | Malformed]:
        """Yield records one by one, up to the first that ends on line `until` or after it."""
        named = [(place, name) for place, name in enumerate(self.header) if name]
        while until is None or self.lines.number < until:
            record = _take_record(self.lines, self.dialect)
            if record is None:
                return
            fields, reason = self._check(record)
            if reason is None:
                row = {name: fields[place] for place, name in named}
                if is_text(str(row)):
                    yield record.number, row
                else:
                    yield Malformed(self.path, record.number, "not in the encoding that the file begins with")
            else:
                self.lines.give_back(record.lines[1:])
                yield Malformed(self.path, record.number, reason)

    def _check(self, record: _Taken) -> tuple[Sequence[str], str | None]:
        """Return a record's fields, and what is wrong with it."""
        fields, reason = record.fields, record.reason
        if reason is None and len(fields) != len(self.header):
            reason = f"expected {len(self.header)} columns, found {len(fields)}"
        if reason != UNCLOSED and (reason or self.dialect.is_padded(record.lines)):
            padded = self.dialect.parse_padded("".join(record.lines))
            if len(padded) == len(self.header):
                return padded, None
        return fields, reason


def _read_by_blocks(table: _Table, plain: PlainLines) -> Iterator[Block | tuple[int, Row] | Malformed]:
    """Yield well-formed blocks as they are, and the records of all others one by one."""
    lines = table.lines
    parse = partial(parse_block, delimiter=table.dialect.delimiter, header=table.header)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        pieces = Pieces(plain, parse, pool)
        pieces.restart(lines)
        while piece := pieces.take():
            block = piece.block.result()
            if block is not None:
                yield replace(block, lines=block.lines + lines.number + 1)
                lines.number += block.num_lines
                continue
            pieces.put_back(piece)
            yield from table.read_records(until=lines.number + count_lines(piece.content))
            pieces.restart(lines)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def check_header(names: Sequence[str], path: str, number: int) -> list[str]:
    """Return the names of columns, bare of white space; those without a name stay empty.

    Raises:
        UserError: if a name comes twice.
    """
    names = [name.strip() for name in names]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}:{number}: the header names {', '.join(twice)} twice; rename one, "
            "so that it is clear which column is meant"
        )
    return names


def _read_header(record: _Taken, path: str) -> list[str]:
    if record.reason:
        raise UserError(f"{path}:{record.number}: the header cannot be read: {record.reason}")
    return check_header(record.fields, path, record.number)


def _take_record(lines: Lines, dialect: Dialect) -> _Taken | None:
    """Take the lines of the next record, None after the last."""
    line = lines.take()
    while line is not None and not line.strip():
        line = lines.take()
    if line is None:
        return None
    number, taken = lines.number, [line]
    num_quotes, num_characters = dialect.count_quotes(line), len(line)
    while True:
        # An even number of quotes may be a whole record; an odd one only if one stands for itself, as in 5" pipe.
        if num_quotes % 2 == 0 or len(taken) == 1:
            try:
                return _Taken(number, taken, dialect.parse("".join(taken)))
            except csv.Error as error:
                if num_quotes % 2 == 0:
                    return _Taken(number, taken, (), f"not a row of a table: {error}")
        line = lines.take() if num_characters <= MAX_RECORD_CHARACTERS else None
        if line is None:
            return _Taken(number, taken, (), UNCLOSED)
        taken.append(line)
        num_quotes += dialect.count_quotes(line)
        num_characters += len(line)
