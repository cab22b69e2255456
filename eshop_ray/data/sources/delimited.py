"""Tables as text, one record after the other: a broken one costs itself and nothing that follows.

A quote that is not closed takes in whatever comes next, up to another quote or the file's end. What it took in is read
anew, from the line after the one where its record began.
"""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from eshop_ray.data.sources.encodings import decode_lines
from eshop_ray.data.sources.lines import is_text
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed

MAX_RECORD_CHARACTERS = 64_000_000
"""A record longer than this is taken for one whose quote was never closed."""
DELIMITERS = (",", ";", "\t", "|")
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

    def parse(self, text: str) -> list[str]:
        """Return the fields of one record.

        Raises:
            csv.Error: if a quote is open at the end, or text follows a closing one.
        """
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        return next(csv.reader([text], delimiter=self.delimiter, quotechar=self.quote, quoting=quoting, strict=True))

    def count_quotes(self, text: str) -> int:
        """Return how many quotes a text has."""
        return text.count(self.quote) if self.quote else 0


@dataclass(slots=True)
class Lines:
    """Numbered lines that can be given back."""

    source: Iterator[str]
    number: int = 0
    """Of the line that was taken last, 1 for the first."""
    returned: deque[str] = field(default_factory=deque)

    def take(self) -> str | None:
        """Return the next line with its end, None after the last."""
        line = self.returned.popleft() if self.returned else next(self.source, None)
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """Have these lines, the last ones that were taken, come again."""
        self.returned.extendleft(reversed(lines))
        self.number -= len(lines)


@dataclass(frozen=True, slots=True)
class _Taken:
    """One record's lines and what they hold: its fields, or the reason why they cannot be told."""

    number: int
    lines: Sequence[str]
    fields: Sequence[str]
    reason: str | None = None


def read_table(
    stream: IO[bytes], path: str, dialect: Dialect | None = None
) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield what `read_records` does, from bytes in whatever encoding they are; without a dialect its header tells."""
    texts = decode_lines(stream)
    if dialect is None:
        first = next(texts, "")
        declared = _SEPARATOR_LINE.fullmatch(first)
        dialect = Dialect(declared[1] if declared else sniff_delimiter(first))
        # The line that says what separates is no record, but it counts as a line.
        texts = itertools.chain(["\n" if declared else first], texts)
    for record in read_records(texts, path, dialect):
        if isinstance(record, Malformed) or is_text(str(record)):
            yield record
        else:
            yield Malformed(path, record[0], "not in the encoding that the file begins with")


def sniff_delimiter(header: str) -> str:
    """Return what most often stands between a header's names; a comma where nothing does."""
    bare = _QUOTED.sub("", header)
    return max(DELIMITERS, key=bare.count)


def read_records(texts: Iterable[str], path: str, dialect: Dialect) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (number of the record's first line, column -> text) for each record below the header.

    Columns without a name, such as the index that pandas writes, are left out; blank lines are passed over.

    Args:
        texts: The lines, each with its end.
        path: The file's, for messages.
        dialect: How the table is written.

    Raises:
        UserError: if the header cannot be read or names a column twice.
    """
    csv.field_size_limit(MAX_RECORD_CHARACTERS)
    lines = Lines(iter(texts))
    first = _take_record(lines, dialect)
    if first is None:
        return
    header = _read_header(first, path)
    named = [(place, name) for place, name in enumerate(header) if name]
    while record := _take_record(lines, dialect):
        reason = record.reason
        if reason is None and len(record.fields) != len(header):
            reason = f"expected {len(header)} columns, found {len(record.fields)}"
        if reason is None:
            yield record.number, {name: record.fields[place] for place, name in named}
        else:
            lines.give_back(record.lines[1:])
            yield Malformed(path, record.number, reason)


def _read_header(record: _Taken, path: str) -> list[str]:
    if record.reason:
        raise UserError(f"{path}:{record.number}: the header cannot be read: {record.reason}")
    names = [name.strip() for name in record.fields]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}:{record.number}: the header names {', '.join(twice)} twice; rename one, "
            "so that it is clear which column is meant"
        )
    return names


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
