"""Files that stand beside the one that a path names: what the rows of that one need to be told in words."""

from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.sources.required import parse_row
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

Key = TypeVar("Key")
Value = TypeVar("Value")


def find_beside(path: str, name: str) -> str | None:
    """Return the path of a file in the same folder, None where there is no such file."""
    base, question_mark, query = path.partition("?")
    try:
        (file, *_) = list_files("", f"{base.rpartition('/')[0]}/{name}{question_mark}{query}")
    except UserError:
        return None
    return file.path


def read_beside(
    path: str,
    name: str,
    parse: Callable[[str, int, Row], tuple[Key, Value] | Malformed],
    found: MutableMapping[Key, Value],
) -> Iterator[Malformed]:
    """Put what stands in a file of the same folder into `found`, and yield the rows of it that cannot be read.

    Args:
        path: Of the file that it stands beside.
        name: Its name; where there is no such file nothing is found.
        parse: (path, line, row) -> key and value.
        found: What is filled.
    """
    beside = find_beside(path, name)
    if beside is None:
        return
    with open_bytes(beside) as stream:
        for row in read_rows(stream, beside):
            pair = row if isinstance(row, Malformed) else parse_row(beside, *row, parse)
            if isinstance(pair, Malformed):
                yield pair
            else:
                found[pair[0]] = pair[1]
