"""Answers that another model has generated to the rows of the split `train`, learned from instead of the targets.

Sequence-level distillation: Kim and Rush, https://arxiv.org/abs/1606.07947.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import ray
from ray.data import Dataset

from eshop_ray.artifacts import Manifest, read_complete
from eshop_ray.data.tokenization import UNANSWERED
from eshop_ray.errors import UserError
from eshop_ray.parsing import drop_thought
from eshop_ray.places import local_path, place_of
from eshop_ray.schema import PREDICTION_SCHEMA, encode
from eshop_ray.tasks import get_task

logger = logging.getLogger(__name__)

KEYS = ["task", "id"]
ANSWER = pa.field("answer", pa.string())
"""Text to learn from; null where the row is answered, and the answer cannot be read."""
_READ = [*KEYS, "generated_text", "prediction", "finish_reason", "error"]
_NAMED = 3


def find_answers(place: str) -> tuple[Path, Manifest]:
    """Return the folder of `train.answers`, fetched, and its manifest.

    Raises:
        UserError: if there are no complete predictions.
    """
    folder = local_path(place)
    try:
        return folder, read_complete(folder, job="batch_infer")
    except UserError as error:
        raise UserError(f"`train.answers`: {error}, and `evaluate.split=train`") from error


def read_answers(folder: Path) -> pa.Table:
    """Return `task`, `id` and `answer` of a folder of predictions.

    Raises:
        UserError: if a row is answered twice.
    """
    paths = sorted(map(str, folder.glob("*.parquet")))
    batches = pyarrow.dataset.dataset(paths, format="parquet", schema=PREDICTION_SCHEMA).to_batches(columns=_READ)
    schema = pa.schema([*(PREDICTION_SCHEMA.field(name) for name in KEYS), ANSWER])
    answers = pa.Table.from_batches([_read_texts(batch, schema) for batch in batches], schema)
    twice = answers.group_by(KEYS).aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)
    if len(twice):
        row = twice.slice(0, 1).to_pylist()[0]
        raise UserError(
            f"`train.answers` {place_of(folder)} answers {len(twice)} rows more than once, e.g. {row['task']} "
            f"{row['id']}; give the folder of one run"
        )
    return answers


def _read_texts(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [*(batch[name] for name in KEYS), pa.array(list(map(_read_text, batch.to_pylist())), pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _read_text(row: dict[str, Any]) -> str | None:
    """Return what a model has answered; None if it failed, was cut off, or could not be read."""
    unreadable = (None, encode(get_task(row["task"]).unparsed))
    if row["error"] is not None or row["finish_reason"] == "length" or row["prediction"] in unreadable:
        return None
    return drop_thought(row["generated_text"])


def take_answers(prompts: Dataset, records: Dataset, folder: Path) -> Dataset:
    """Join prompts with answers, by task and id.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`.
        records: What they were made of, by which rows are counted.
        folder: The predictions.

    Returns:
        Columns of `PROMPT_SCHEMA`, and `answer`; a row that has none keeps its place, with its `error`.

    Raises:
        UserError: if nothing is left to learn from.
    """
    answers = read_answers(folder)
    counts = _count(records, answers)
    place = place_of(folder)
    if not counts["usable"]:
        raise UserError(
            f"`train.answers` {place}: of {counts.total()} rows to learn from {counts['missing']} are not answered "
            f"there, and {counts['failed']} have an answer that cannot be read. Records have ids such as "
            f"{_name_few(records)}, the answers {_show_ids(answers)}; ask with `evaluate.split=train` about the same "
            "records"
        )
    if left_out := counts["missing"] + counts["failed"]:
        logger.warning(
            "left out: %d of %d rows without an answer in %s, %d of them with one that cannot be read",
            *(left_out, counts.total(), place, counts["failed"]),
        )
    shared = ray.put(answers)
    return prompts.map_batches(lambda batch: _join(batch, ray.get(shared)), batch_format="pyarrow", batch_size=None)


def _count(records: Dataset, answers: pa.Table) -> Counter[str]:
    """Return how many records are `usable`, `failed` and `missing`."""
    known = answers.select(KEYS).append_column("is_usable", pc.is_valid(answers["answer"]))
    counts: Counter[str] = Counter()
    for batch in _iterate_keys(records):
        found = batch.join(known, KEYS, join_type="left outer")["is_usable"]
        counts["usable"] += pc.sum(found).as_py() or 0
        counts["missing"] += found.null_count
        counts["failed"] += len(found) - found.null_count - (pc.sum(found).as_py() or 0)
    return counts


def _iterate_keys(records: Dataset) -> Iterator[pa.Table]:
    keys = records.select_columns(KEYS)
    yield from (batch for batch in keys.iter_batches(batch_format="pyarrow", batch_size=None) if batch.num_rows)


def _join(batch: pa.Table, answers: pa.Table) -> pa.Table:
    """Return rows with their answers. Arrow joins no columns of lists, so the keys alone are joined."""
    places = batch.select(KEYS).append_column("place", pa.array(range(len(batch)), pa.int64()))
    found = places.join(answers, KEYS, join_type="left outer").sort_by("place")[ANSWER.name]
    reasons = pc.if_else(pc.is_null(found), f"{UNANSWERED}: no answer that can be read", None)
    errors = pc.coalesce(batch["error"], reasons)
    return batch.drop_columns("error").append_column("error", errors).append_column(ANSWER, found)


def _name_few(records: Dataset) -> str:
    return _show_ids(next(_iterate_keys(records)))


def _show_ids(rows: pa.Table) -> str:
    return ", ".join(f"{row['task']} {row['id']}" for row in rows.slice(0, _NAMED).to_pylist()) or "none"
