"""Columns that a file must have: a single row may lack one, and is then malformed, but not all of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, TypeVar

from eshop_ray.data.formats.json_text import read_json
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

Parsed = TypeVar("Parsed")
"""What is made of a row."""
Given = TypeVar("Given", bound=Mapping[str, Any] | str)
"""A row, or the line that it is to be read from."""

_MAX_SHOWN = 160
"""Characters of an error."""
_MISFITS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What parsing raises where a value is of another kind than it is taken for."""

Explain = Callable[[Sequence[str], Iterable[str]], UserError]
"""(columns that no row has, columns that there are) -> what to do about it."""


def read_objects(
    stream: IO[bytes],
    path: str,
    columns: Sequence[str],
    parse: Callable[[str, int, Row], Parsed | Malformed],
) -> Iterator[Parsed | Malformed]:
    """Yield what `parse` makes of (path, line, object) for each row of JSON.

    Raises:
        UserError: if a column is missing from the whole file.
    """
    yield from require_columns(read_json(stream, path), path, columns, parse)


def require_columns(
    rows: Iterator[tuple[int, Row] | Malformed],
    path: str,
    columns: Sequence[str],
    parse: Callable[[str, int, Row], Parsed | Malformed],
    explain: Explain | None = None,
) -> Iterator[Parsed | Malformed]:
    """Yield what `parse` makes of rows, and complain in the end of columns that no row had.

    Args:
        rows: Of a file.
        path: The file's.
        columns: Needed ones; of a dotted path into a column that column is needed.
        parse: (path, line, row) -> record.
        explain: What is said of missing columns; None: which they are, and which there are.

    Raises:
        UserError: as `explain` says.
    """
    seen: dict[str, None] = {}
    num_rows = 0
    for row in rows:
        if isinstance(row, Malformed):
            yield row
            continue
        num_rows += 1
        seen.update(dict.fromkeys(map(str, row[1])))
        yield parse_row(path, *row, parse)
    missing = [column for column in columns if column not in seen and column.partition(".")[0] not in seen]
    if num_rows and missing:
        raise explain(missing, seen) if explain else explain_lack(path, missing, seen)


def parse_row(
    path: str, number: int, row: Given, parse: Callable[[str, int, Given], Parsed | Malformed]
) -> Parsed | Malformed:
    """Return what `parse` makes of a row, `Malformed` where it cannot: one odd row must not end a file."""
    try:
        return parse(path, number, row)
    except _MISFITS as error:
        said = " ".join(str(error).split())[:_MAX_SHOWN]
        return Malformed(path, number, f"not what the format has there: {type(error).__name__}: {said}")


def to_line(value: Any) -> str:
    """Return a text or a number on one line; a value of another kind says nothing."""
    is_told = isinstance(value, str | int | float) and not isinstance(value, bool)
    return " ".join(str(value).split()) if is_told else ""


def explain_lack(path: str, missing: Sequence[str], seen: Iterable[str], remedy: str = "") -> UserError:
    """Return an error that names the columns and those that there are, and what to do."""
    found = ", ".join(sorted(seen)[:20])
    return UserError(f"{path}: no row has {', '.join(missing)}; found {found}" + (f"; {remedy}" if remedy else ""))
