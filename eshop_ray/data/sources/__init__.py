"""Readers of public formats, one file per format.

Each has `read(stream, path, options)`, which yields records and, for rows that it cannot read, `Malformed`. A bad
row never raises; a file that is unreadable as a whole, or has no column of a name that it must have, is a
`UserError`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.sources import catalog, esci, instructions, queryner, reviews, shopbench
from eshop_ray.schema import Malformed, Record

Reader = Callable[[IO[bytes], str, Mapping[str, Any]], Iterator[Record | Malformed]]

READERS: Mapping[str, Reader] = {
    "queryner": queryner.read,
    "shopbench": shopbench.read,
    "esci": esci.read,
    "catalog": catalog.read,
    "reviews": reviews.read,
    "instructions": instructions.read,
}
"""A source's `format` -> its reader."""
