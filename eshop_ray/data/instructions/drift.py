"""Files of a source that do not have the columns of its others: they are read as they are, and the card tells of it."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from eshop_ray.config import Config
from eshop_ray.config.files import FileOptions
from eshop_ray.data.files import open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.plan import Plan, list_material_files
from eshop_ray.datasets import map_items
from eshop_ray.errors import UserError
from eshop_ray.places import show
from eshop_ray.schema import Malformed, Row, decode, encode

NUM_FILES = 5
"""Files of a difference that are named."""
_SAMPLE_ROWS = 1_000
_FEWEST_ROWS = 5
"""A file of fewer says too little of what its others have."""
_REGULAR_SHARE = 0.5
"""Of rows that have a column, from which on a file without it lacks something: many columns are there at times."""
_TYPE_SHARE = 0.9
_KIND_SHARE = 0.5
"""Of columns that two files of one kind share. A source may have files of several kinds, judgements and products."""
_UNNAMED = frozenset({"product_matching", "queryner", "review_summaries"})
"""Formats whose columns have no names."""
_ANY_TYPE = frozenset({"output_field"})
"""Columns that have one type for each task."""


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The columns of a file, as far as its first rows tell."""

    path: str
    types: Mapping[str, str | None]
    """Column -> type of its values, None where they are of several."""
    regular: frozenset[str]
    """Columns of at least half of its rows."""


def report_drift(config: Config, plan: Plan) -> dict[str, list[Row]]:
    """Return source -> in what its files differ, for sources of several files: `column`, `difference`, `num_files` and
    the first `files` of which it is true.
    """
    listed = list_material_files(config, plan.sources)
    counts = Counter(file["source"] for file in listed)
    compared = [file for file in listed if counts[file["source"]] > 1 and file["format"] not in _UNNAMED]
    found: defaultdict[str, list[FileColumns]] = defaultdict(list)
    for row in map_items(_sample, compared).iter_rows() if compared else ():
        values = decode(row["columns"])
        columns = FileColumns(values["path"], values["types"], frozenset(values["regular"]))
        found[row["source"]].append(columns)
    return {source: drift for source, own in sorted(found.items()) if (drift := find_drift(own))}


def find_drift(files: Iterable[FileColumns]) -> list[Row]:
    """Return in what files differ, those of one kind compared with each other."""
    kinds: list[list[FileColumns]] = []
    for file in sorted(files, key=lambda file: file.path):
        own = next((kind for kind in kinds if _is_alike(kind[0], file)), None)
        if own is None:
            kinds.append(own := [])
        own.append(file)
    return [row for kind in kinds for row in (*_compare_names(kind), *_compare_types(kind))]


def read_columns(path: str, rows: Iterable[Row]) -> FileColumns | None:
    """Return the columns of a file's first rows; None if these are too few."""
    sample = list(itertools.islice(rows, _SAMPLE_ROWS))
    if len(sample) < _FEWEST_ROWS:
        return None
    there = Counter(str(name) for row in sample for name in row)
    types: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in sample:
        for name, value in row.items():
            types[str(name)].update([_name_type(value)] if value not in (None, "") else [])
    regular = frozenset(name for name, number in there.items() if number >= _REGULAR_SHARE * len(sample))
    return FileColumns(path, {name: _find_type(types[name]) for name in there}, regular)


def _sample(file: Mapping[str, Any]) -> Iterator[pa.Table]:
    options = decode(file["options"])
    known = FileOptions.model_validate({name: options[name] for name in FileOptions.model_fields if name in options})
    try:
        with open_bytes(file["path"]) as stream:
            rows = read_rows(stream, file["path"], known)
            found = read_columns(show(file["path"]), (row[1] for row in rows if not isinstance(row, Malformed)))
    except UserError:  # whoever reads it to its end will tell
        return
    if found:
        values = {"path": found.path, "types": found.types, "regular": sorted(found.regular)}
        yield pa.table({"source": [file["source"]], "columns": [encode(values)]})


def _is_alike(one: FileColumns, other: FileColumns) -> bool:
    shared = one.types.keys() & other.types.keys()
    return len(shared) >= _KIND_SHARE * min(len(one.types), len(other.types))


def _compare_names(files: Sequence[FileColumns]) -> Iterator[Row]:
    for column in sorted({name for file in files for name in file.regular}):
        having = [file for file in files if column in file.types]
        if len(having) == len(files):
            continue
        if 2 * len(having) > len(files):
            yield _describe(column, "missing", [file for file in files if column not in file.types], files)
        else:
            yield _describe(column, "only there", [file for file in having if column in file.regular], files)


def _compare_types(files: Sequence[FileColumns]) -> Iterator[Row]:
    for column in sorted({name for file in files for name in file.types} - _ANY_TYPE):
        known = [(kind, file) for file in files if (kind := file.types.get(column))]
        usual = min(Counter(kind for kind, _ in known).items(), key=lambda pair: (-pair[1], pair[0]), default=("", 0))[
            0
        ]
        for other in sorted({kind for kind, _ in known} - {usual}):
            own = [file for kind, file in known if kind == other]
            yield _describe(column, f"{other}, elsewhere {usual}", own, files)


def _describe(column: str, difference: str, own: Sequence[FileColumns], files: Sequence[FileColumns]) -> Row:
    named = [file.path for file in own[:NUM_FILES]]
    return {"column": column, "difference": difference, "num_files": len(own), "of": len(files), "files": named}


def _name_type(value: Any) -> str:
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, list | tuple) else "text"


def _find_type(counts: Counter[str]) -> str | None:
    """Return the type of nearly all values."""
    (name, number), *_ = counts.most_common(1) or [("", 0)]
    return name if number and number >= _TYPE_SHARE * counts.total() else None
