"""Columns that a file must have: a single row may lack one, and is then malformed, but not all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TypeVar

from eshop_ray.data.formats.json_text import read_json
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

Parsed = TypeVar("Parsed")
"""What is made of a row."""

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
        yield parse(path, *row)
    missing = [column for column in columns if column not in seen and column.partition(".")[0] not in seen]
    if num_rows and missing:
        raise explain(missing, seen) if explain else explain_lack(path, missing, seen)


def explain_lack(path: str, missing: Sequence[str], seen: Iterable[str], remedy: str = "") -> UserError:
    """Return an error that names the columns and those that there are, and what to do."""
    found = ", ".join(sorted(seen)[:20])
    return UserError(f"{path}: no row has {', '.join(missing)}; found {found}" + (f"; {remedy}" if remedy else ""))
