"""A file of rows, in whatever format it is: the contents tell it, then the name's ending."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import IO
from urllib.parse import unquote

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.delimited import read_table, read_table_blocks
from eshop_ray.data.formats.encodings import as_buffered, detect_encoding
from eshop_ray.data.formats.json_text import read_json, read_json_blocks
from eshop_ray.data.formats.text_blocks import Blocks
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

ENDINGS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".csv": "table",
    ".tsv": "table",
    ".txt": "table",
    ".xml": "xml",
    ".rss": "xml",
    ".atom": "xml",
    ".html": "web page",
    ".htm": "web page",
    ".xlsx": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
    ".parquet": "parquet",
}
"""Ending of a name -> format, where the contents do not say otherwise."""
PACKED_ENDINGS = (".gz", ".bz2", ".zst", ".zip")

_SIGNATURES = ((b"PAR1", "parquet"), (b"PK\x03\x04", "workbook"), (b"\xd0\xcf\x11\xe0", "workbook"))
_WEB_PAGE = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_XML = re.compile(r"\s*<(?:\?xml|!--|[A-Za-z_])")
_YAML = re.compile(r"(?:\s*#[^\n]*\n)*\s*(?:---|- |[\w-]+:\s*\n\s*- )")
_PEEKED = 4096
_PARTITION = re.compile(r"([A-Za-z_][\w.-]*)=([^/]*)")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def read_rows(
    stream: IO[bytes], path: str, options: FileOptions | None = None
) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based line or row, the row as it stands in the file: a product, a review).

    Args:
        stream: The file's bytes, unpacked.
        path: Its path; `key=value` among its folders is a column of every row that has none of that name.
        options: How it is written, where looking at it does not tell.

    Raises:
        UserError: if the file cannot be parsed as a whole.
    """
    options = options or FileOptions()
    buffered = as_buffered(stream)
    rows = _read_format(detect_format(buffered, path), buffered, path, options)
    partition = _read_partition(path)
    for row in rows:
        yield row if isinstance(row, Malformed) or not partition else (row[0], {**partition, **row[1]})


def read_text_blocks(
    stream: IO[bytes], path: str, options: FileOptions, texts: Sequence[str], scalars: Sequence[str]
) -> Blocks:
    """Yield what `read_rows` does, by the block where many rows on end are well-formed and their columns are text.

    Args:
        stream: As for `read_rows`.
        path: As for `read_rows`.
        options: As for `read_rows`.
        texts: Wanted columns that hold text; others are in no block.
        scalars: Wanted columns that hold text or whole numbers.
    """
    buffered = as_buffered(stream)
    name = "" if _read_partition(path) else detect_format(buffered, path)
    if name == "json":
        return read_json_blocks(buffered, path, options.records, texts, scalars)
    if name == "table":
        return read_table_blocks(buffered, path, options, (*texts, *scalars))
    if name == "parquet":
        from eshop_ray.data.formats.columnar import read_parquet_blocks

        return read_parquet_blocks(buffered, path, texts, scalars)
    return read_rows(buffered, path, options)


def detect_format(stream: io.BufferedReader, path: str) -> str:
    """Return which of the values of `ENDINGS` a file has; nothing is taken from the stream.

    Raises:
        UserError: if neither the contents nor the name's ending tell.
    """
    head = stream.peek(_PEEKED)[:_PEEKED]
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    text = head.decode(detect_encoding(head), "replace").lstrip("\ufeff")
    if _WEB_PAGE.match(text):
        return "web page"
    if _XML.match(text):
        return "xml"
    name = path.partition("?")[0].lower()
    for packed in PACKED_ENDINGS:
        name = name.removesuffix(packed)
    by_ending = next((ENDINGS[ending] for ending in ENDINGS if name.endswith(ending)), None)
    if by_ending in ("json", "yaml", "table"):
        return by_ending
    if text.lstrip().startswith(("{", "[")) or (not head and by_ending is None):
        return "json"
    if by_ending is None and _YAML.match(text):
        return "yaml"
    if by_ending is None and "\x00" not in text and any(mark in text.partition("\n")[0] for mark in ",;\t|"):
        return "table"
    expected = f"its contents are not {by_ending}" if by_ending else f"name it {', '.join(ENDINGS)}"
    raise UserError(
        f"{path}: neither contents nor ending tell a format of rows; {expected}; any may be packed as "
        f"{', '.join(PACKED_ENDINGS)}"
    )


def _read_format(
    name: str, stream: io.BufferedReader, path: str, options: FileOptions
) -> Iterator[tuple[int, Row] | Malformed]:
    if name == "table":
        return read_table(stream, path, options)
    if name == "json":
        return read_json(stream, path, options.records)
    # Imported now: each brings a library, and a process reads one or two formats.
    if name == "yaml":
        from eshop_ray.data.formats.yaml_rows import read_yaml

        return read_yaml(stream, path, options.records)
    if name == "xml":
        from eshop_ray.data.formats.xml_rows import read_xml

        return read_xml(stream, path, options.records)
    if name == "web page":
        from eshop_ray.data.formats.web_pages import read_web_page

        return read_web_page(stream, path)
    if name == "workbook":
        from eshop_ray.data.formats.workbooks import read_workbook

        return read_workbook(stream, path, options.records)
    from eshop_ray.data.formats.columnar import read_parquet

    return read_parquet(stream, path)


def _read_partition(path: str) -> Row:
    """Return the columns that folders such as `country=DE` stand for."""
    found = (_PARTITION.fullmatch(part) for part in path.split("/")[:-1])
    return {match[1]: None if match[2] == _NO_PARTITION else unquote(match[2]) for match in found if match}
