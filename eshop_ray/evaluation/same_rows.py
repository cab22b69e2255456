"""Whether answers are those to the rows that were asked, and two models' answers to the same rows: ids and targets are
counted by DuckDB, on the disk where they are many, and what differs is counted and named.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from eshop_ray.data.database import connect
from eshop_ray.errors import UserError
from eshop_ray.places import place_of
from eshop_ray.reporting.words import count

BATCH_ROWS = 20_000
NUM_SHOWN = 3
MEMORY_LIMIT = "128MB"

_IDS = pa.schema([("task", pa.string()), ("id", pa.string())])

_COMPLETE = f"""
WITH asked AS (SELECT task, id, count(*) AS times FROM expected GROUP BY ALL),
     found AS (SELECT task, id, count(*) AS times FROM read_parquet($files) GROUP BY ALL)
SELECT kind, count(*), min(name, {NUM_SHOWN}), (SELECT sum(times) FROM asked)
FROM (
    SELECT coalesce(asked.task, found.task) || '/' || coalesce(asked.id, found.id) AS name,
           CASE WHEN found.times IS NULL THEN 'lacks'
                WHEN asked.times IS NULL THEN 'has, and should not have,'
                ELSE 'has more than once' END AS kind
    FROM asked FULL JOIN found USING (task, id) WHERE asked.times IS DISTINCT FROM found.times)
GROUP BY kind ORDER BY kind = 'lacks' DESC, kind
"""

_SAME = f"""
WITH one AS (SELECT "group", task, id, count(*) AS times, any_value(hash(target)) AS target, any_value(metric) AS metric
             FROM read_parquet($first) GROUP BY "group", task, id),
     other AS (SELECT "group", task, id, count(*) AS times, any_value(hash(target)) AS target,
                      any_value(metric) AS metric
               FROM read_parquet($second) GROUP BY "group", task, id)
SELECT "group", kind, count(*), min(name, {NUM_SHOWN})
FROM (
    SELECT "group", task || '/' || id AS name,
           CASE WHEN one.times IS NULL THEN 'missing in the first'
                WHEN other.times IS NULL THEN 'missing in the second'
                WHEN one.times > 1 OR other.times > 1 THEN 'answered more than once'
                WHEN one.target IS DISTINCT FROM other.target THEN 'held against other targets'
                WHEN one.metric IS DISTINCT FROM other.metric THEN 'scored by other metrics' END AS kind
    FROM one FULL JOIN other USING ("group", task, id))
WHERE kind IS NOT NULL GROUP BY ALL ORDER BY "group", kind
"""


def check_complete(predictions_dir: Path, expected: Iterable[tuple[str, str]]) -> None:
    """See that every record was answered once: a score of a part would pass for one of all.

    Args:
        predictions_dir: The answers.
        expected: Task and id of the records that were to be answered.

    Raises:
        UserError: counting and naming what is missing, what was answered that was not asked, and what was answered
            more than once.
    """
    reader = pa.RecordBatchReader.from_batches(_IDS, _pack(expected))
    differing = _ask(_COMPLETE, {"files": list_files(predictions_dir)}, expected=reader)
    told = [
        f"{kind} {number:,} of {int(wanted or 0):,} rows, such as {', '.join(names)}"
        for kind, number, names, wanted in differing
    ]
    if told:
        raise UserError(f"{predictions_dir} {'; '.join(told)}; remove the folder and run `eshop batch-infer` again")


def check_same_rows(first_dir: Path, second_dir: Path) -> None:
    """See that two models answered the same rows, and that the truth is the same: else no difference is the model's.

    Raises:
        UserError: counting and naming what differs, by group.
    """
    files = {"first": list_files(first_dir), "second": list_files(second_dir)}
    told = [
        f"group `{group}`: {count(number, 'row')} {kind}, such as {', '.join(names)}"
        for group, kind, number, names in _ask(_SAME, files)
    ]
    if told:
        raise UserError(
            f"{place_of(first_dir)} and {place_of(second_dir)} answer different rows: {'; '.join(told)}. Run `eshop "
            "batch-infer` again for both, with the same records"
        )


def list_files(predictions_dir: Path) -> list[str]:
    """Return the files of answers.

    Raises:
        UserError: if there are none.
    """
    paths = sorted(map(str, predictions_dir.glob("*.parquet")))
    if not paths:
        raise UserError(f"{predictions_dir} holds no predictions; run `eshop batch-infer` again")
    return paths


def _pack(expected: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    rows = iter(expected)
    while part := list(islice(rows, BATCH_ROWS)):
        tasks, ids = zip(*part, strict=True)
        yield pa.record_batch([pa.array(tasks, pa.string()), pa.array(ids, pa.string())], schema=_IDS)


def _ask(query: str, files: dict[str, list[str]], **tables: pa.RecordBatchReader) -> Sequence[tuple[Any, ...]]:
    with connect(MEMORY_LIMIT, **tables) as database:
        return database.execute(query, files).fetchall()
