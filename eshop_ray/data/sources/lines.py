"""Numbered lines, plain or JSON: what most formats are made of."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Literal

from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Record


def read_lines(stream: IO[bytes], path: str) -> Iterator[tuple[int, str] | Malformed]:
    """Yield (1-based number, text without its line end), blank lines included."""
    for number, line in enumerate(stream, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield Malformed(path, number, f"not UTF-8: {error.reason} at byte {error.start}")


def read_json_lines(stream: IO[bytes], path: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (1-based number, object) for each line that is not blank."""
    for line in read_lines(stream, path):
        if isinstance(line, Malformed):
            yield line
        elif line[1].strip():
            yield _parse_object(path, *line)


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


def read_table(stream: IO[bytes], path: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]] | Malformed]:
    """Yield (number of the row's last line, row) of CSV (quoted fields) or TSV (quotes are plain text)."""
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    texts = (
        line.decode("utf-8-sig" if index == 0 else "utf-8", "surrogateescape") for index, line in enumerate(stream)
    )
    reader = csv.DictReader(texts, delimiter=delimiter, quoting=quoting, restkey="", restval=None)
    while True:
        try:
            row: dict[str, Any] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number = reader.reader.line_num  # the outer reader's own still names the line before
            yield Malformed(path, number, f"not a row of a table: {error}")
            continue
        if not is_text(str(row)):
            yield Malformed(path, reader.line_num, "not UTF-8")
        elif "" in row or None in row.values():
            yield Malformed(path, reader.line_num, f"expected {len(reader.fieldnames or ())} columns")
        else:
            yield reader.line_num, row


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
    if not isinstance(value, dict):
        return Malformed(path, number, f"expected a JSON object, found {type(value).__name__}")
    return number, value
