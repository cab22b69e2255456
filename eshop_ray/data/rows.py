"""A source's records as rows of one schema, so that all formats and tasks share one dataset."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from eshop_ray.data.files import open_bytes
from eshop_ray.data.sources import READERS
from eshop_ray.schema import RECORD_SCHEMA, Malformed, Record, Row, content_id, decode, encode, is_text

ROW_SCHEMA = pa.schema(
    [
        *RECORD_SCHEMA,
        ("content", pa.string()),
        ("split", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("repaired", pa.string()),
        ("version", pa.float64()),
    ]
)
"""Records on their way to disk. `id` is null where the source gives none; `content` identifies what is asked,
whatever the answer; `split` is null where it is still to be drawn; `reason` is set on malformed rows only, `version`
where the newest row of an id is to win."""

_BATCH_ROWS = 4096
_NOT_FIELDS = {"id", "task", "group", "metric", "target", "repaired", "version"}


def read_file(file: Mapping[str, Any], tasks: Sequence[str]) -> Iterator[pa.Table]:
    """Read a file (`path`, `split`, `format`, `options`) into tables of `ROW_SCHEMA`.

    Records of other tasks than `tasks` are left out where it names any; malformed rows always stay.

    Raises:
        UserError: if the file cannot be read.
    """
    path = file["path"].partition("?")[0]
    with open_bytes(file["path"]) as stream:
        records = READERS[file["format"]](stream, path, decode(file["options"]))
        rows = (row for row in to_rows(records, path, file["split"]) if not tasks or row["task"] in (None, *tasks))
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            yield pa.Table.from_pylist(batch, schema=ROW_SCHEMA)


def to_rows(records: Iterable[Record | Malformed], path: str, split: str | None) -> Iterator[Row]:
    """Turn what a source yields into rows of `ROW_SCHEMA`."""
    for position, record in enumerate(records, start=1):
        if isinstance(record, Malformed):
            yield _malformed_row(record)
            continue
        if not is_text(str(record)) or not is_text(encode(record)):
            yield _malformed_row(Malformed(path, position, "half of a character: the text cannot be stored"))
            continue
        fields = {key: value for key, value in record.items() if key not in _NOT_FIELDS}
        yield {
            "id": record.get("id"),
            "task": record["task"],
            "group": record.get("group"),
            "metric": record.get("metric"),
            "target": encode(record["target"]),
            "fields": encode(fields),
            "content": identify_content(record["task"], fields),
            "split": split,
            "path": path,
            "line": position,
            "repaired": record.get("repaired"),
            "version": record.get("version"),
        }


def identify_content(task: str, fields: Mapping[str, Any]) -> str:
    """Return the digest of what is asked; labels, which preparation may fill in, do not count."""
    asked = {key: value for key, value in sorted(fields.items()) if key != "labels"}
    return content_id(task, encode(asked))


def _malformed_row(malformed: Malformed) -> Row:
    reason = malformed.reason.encode("utf-8", "replace").decode()
    return {"task": None, "path": malformed.path, "line": malformed.line, "reason": reason}
