"""What a catalogue's file looks like before anything is configured: format, columns, products, and what is refused."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.files import open_bytes
from eshop_ray.data.formats.delimited import find_dialect
from eshop_ray.data.formats.encodings import SAMPLE_BYTES, as_buffered, detect_encoding
from eshop_ray.data.formats.reader import detect_format, read_rows
from eshop_ray.data.formats.table_lines import Lines
from eshop_ray.data.platforms import PLATFORMS, recognise
from eshop_ray.data.products import choose_file_options, guess_columns, join_texts, read_id, read_products
from eshop_ray.places import show
from eshop_ray.schema import Malformed, Row

NUM_SHOWN = 10
"""Products, and refused rows of a kind, that are shown."""
SHOWN_COLUMNS = ("id", "name", "category", "description")
_SAMPLE_ROWS = 1000


@dataclass(slots=True)
class Inspection:
    """What was found in one file."""

    path: str
    format: str
    """One of the values of `formats.reader.ENDINGS`."""
    encoding: str | None
    """None for formats that are not text."""
    delimiter: str | None
    """None for formats without."""
    columns: dict[str, int]
    """The file's columns and in how many of the first 1,000 rows they hold something."""
    num_sampled: int
    platform: str | None
    """The system whose export it looks like."""
    options: CatalogOptions
    """With which it was read: those given, and what was guessed."""
    guessed: dict[str, Any]
    """What of these was guessed."""
    num_products: int = 0
    products: list[Row] = field(default_factory=list)
    """The first, in the columns of `SHOWN_COLUMNS`."""
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> rows."""
    examples: dict[str, int] = field(default_factory=dict)
    """Reason -> line of the first such row."""


def inspect_file(path: str, options: CatalogOptions) -> Inspection:
    """Read a file to its end and return what a catalogue would be made of.

    Args:
        path: As `list_files` returns it.
        options: What is known already; what it leaves open is guessed.

    Raises:
        UserError: if the file cannot be read as a whole.
    """
    found = _look_at(path, options)
    with open_bytes(path) as stream:
        for row in _name_trouble(read_products(stream, show(path), found.options), show(path)):
            if isinstance(row, Malformed):
                found.refused[row.reason] += 1
                found.examples.setdefault(row.reason, row.line)
                continue
            found.num_products += 1
            if len(found.products) < NUM_SHOWN:
                found.products.append({name: join_texts(row[1].get(name)) for name in SHOWN_COLUMNS})
    return found


def _look_at(path: str, options: CatalogOptions) -> Inspection:
    with open_bytes(path) as stream:
        buffered = as_buffered(stream)
        name = detect_format(buffered, show(path))
        head = buffered.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
        is_text = name not in ("parquet", "workbook")
        encoding = (options.encoding or detect_encoding(head)) if is_text else None
        delimiter = None
        if name == "table":
            lines = head.decode(encoding or "utf-8", "replace").splitlines(keepends=True)
            delimiter = find_dialect(Lines(iter(lines)), options.file_options()).delimiter
        columns, num_sampled = _list_columns(buffered, path, options)
    platform = PLATFORMS[options.format] if options.format else recognise(columns)
    guessed: dict[str, Any] = {}
    if options.format is None and platform is not None:
        guessed["format"] = platform.name
    elif options.format is None:
        named = guess_columns(columns)
        own = {ours: theirs for ours, theirs in named.items() if ours not in options.columns and ours not in columns}
        if own:
            guessed["columns"] = {**options.columns, **own}
    return Inspection(
        path=show(path),
        format=name,
        encoding=encoding,
        delimiter=delimiter,
        columns=columns,
        num_sampled=num_sampled,
        platform=platform.title if platform else None,
        options=options.model_copy(update=guessed),
        guessed=guessed,
    )


def _list_columns(stream: Any, path: str, options: CatalogOptions) -> tuple[dict[str, int], int]:
    columns: Counter[str] = Counter()
    files = choose_file_options(show(path), options)
    num_rows = 0
    for row in islice(read_rows(stream, show(path), files), _SAMPLE_ROWS):
        if not isinstance(row, Malformed):
            num_rows += 1
            columns.update({str(name): int(value not in (None, "", [], {})) for name, value in row[1].items()})
    return dict(columns), num_rows


def _name_trouble(rows: Iterator[tuple[int, Row] | Malformed], path: str) -> Iterator[tuple[int, Row] | Malformed]:
    """Turn products that no job could use into rows that say why."""
    for row in rows:
        if isinstance(row, Malformed):
            yield row
            continue
        number, product = row
        if read_id(product.get("id")) is None:
            yield Malformed(path, number, "`id` is missing or no id")
        elif not isinstance(product.get("name"), str) or not product["name"].strip():
            yield Malformed(path, number, "`name` is missing or not text")
        else:
            yield row
