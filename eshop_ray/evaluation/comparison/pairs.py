"""Two runs' answers side by side, sorted: DuckDB joins them on the disk, and a batch of rows is in memory at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.data.database import connect
from eshop_ray.evaluation.same_rows import list_files
from eshop_ray.evaluation.tally import ANSWER_COLUMNS, COLUMNS, TEXT_COLUMNS

BATCH_ROWS = 5000

Columns = Mapping[str, Sequence[Any]]

_SECOND = (*COLUMNS, *TEXT_COLUMNS, "num_input_tokens")
_FIRST = (*ANSWER_COLUMNS, "finish_reason")


def read_pairs(first_dir: Path, second_dir: Path, records: Sequence[str] = ()) -> Iterator[Columns]:
    """Yield rows that both runs answered, in batches of one group, task and metric each, sorted by these and by id.

    Args:
        first_dir: Predictions of the one.
        second_dir: Predictions of the other.
        records: Files of the records that they answer.

    Yields:
        Columns of the second run's `PREDICTION_SCHEMA`; `first_prediction`, `first_error` and `first_finish_reason`;
        `fields`, of the record, None where it is not known.
    """
    selected = [f's."{name}"' for name in _SECOND]
    selected += [f'f."{name}" AS first_{name}' for name in _FIRST]
    selected += ["r.fields" if records else "NULL AS fields"]
    joined = "LEFT JOIN read_parquet($records) AS r ON r.task = s.task AND r.id = s.id" if records else ""
    query = f"""
        SELECT {", ".join(selected)}
        FROM read_parquet($second) AS s
        JOIN read_parquet($first) AS f ON f."group" = s."group" AND f.task = s.task AND f.id = s.id {joined}
        ORDER BY s."group", s.task, s.metric, s.id
    """
    files = {"first": list_files(first_dir), "second": list_files(second_dir)}
    with connect() as database:
        found = database.execute(query, files | ({"records": list(records)} if records else {}))
        for batch in found.to_arrow_reader(BATCH_ROWS):
            yield from _divide(batch)


def _divide(batch: pa.RecordBatch) -> Iterator[Columns]:
    """Yield the parts of a sorted batch that are of one group, task and metric each."""
    keys = pc.binary_join_element_wise(batch["group"], batch["task"], batch["metric"], "\n").to_pylist()
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or keys[stop] != keys[start]:
            part = batch.slice(start, stop - start)
            yield {name: part[name].to_pylist() for name in part.schema.names}
            start = stop
