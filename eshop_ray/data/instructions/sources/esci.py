"""ESCI's judged pairs of query and product."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any

from eshop_ray.data.instructions.material import Judgement, Material, fold
from eshop_ray.data.sources.esci import COLUMNS, read_judgement
from eshop_ray.data.sources.required import read_objects
from eshop_ray.schema import Malformed, Row, content_id


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield `Judgement`s; those of one query become a `Search` as well.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: `language`, and `where`: column -> values, for files of which only some rows are to be trusted.

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    yield from read_objects(
        stream, path, COLUMNS, partial(_read_pair, language=options["language"], where=options.get("where", {}))
    )


def _read_pair(
    path: str, number: int, row: Row, language: str, where: Mapping[str, Sequence[str]]
) -> Material | Malformed:
    unwanted = next((column for column, values in where.items() if row.get(column) not in values), None)
    if unwanted:
        return Malformed(path, number, f"left out by `where`: its `{unwanted}` is {str(row.get(unwanted))[:60]!r}")
    found = read_judgement(path, number, row)
    if isinstance(found, Malformed):
        return found
    query, title, label = found
    return Judgement(id=content_id(fold(query), fold(title)), language=language, query=query, title=title, label=label)
