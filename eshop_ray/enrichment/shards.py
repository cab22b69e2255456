"""Shards of inference: rows of one task that are answered, written and committed together.

A shard is one file before the engine, and a part of the exchange of results after it. Its name goes along, so that a
shard counts once, however often a cluster in trouble runs it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eshop_ray.data.prompts import ASK_PLAINLY, PromptSettings, build_prompt
from eshop_ray.enrichment.plan import ACTIONS
from eshop_ray.schema import MESSAGES, Row, decode, encode
from eshop_ray.storage import Storage
from eshop_ray.tasks import Task

MAX_TARGETS = 10_000
"""Products that one answer serves; with more of equal text the question is asked once more."""

_TARGET_NAMES = ("product_id", "change", "fingerprint", "path", "line", "attempts", "reviewers", "replaces", "clears")

TARGETS = pa.list_(pa.struct([ACTIONS.field(name) for name in _TARGET_NAMES]))
"""The products that an answer is for; the columns of `ACTIONS`."""

SHARD_ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("task", pa.string()),
        ("prompt_id", pa.string()),
        ("fields", pa.string()),
        ("targets", TARGETS),
        ("first_product", pa.string()),
    ]
)
"""Equal questions; they are asked with those of other products of the first one's bucket."""

QUESTION_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("sampling_params", pa.string()),
        ("retry_params", pa.string()),
        ("error", pa.string()),
        ("shard", pa.string()),
        ("targets", TARGETS),
    ]
)
"""What an engine is given; `id` is the key, `retry_params` replaces `sampling_params` once an answer was unreadable."""

CANARY = "canary"
"""How the names of shards begin whose answers are judged before anything is committed."""

RETRY_MIN_TOKENS = 8
"""A free text that came back empty is asked again for at least so many tokens."""


def merge_questions(rows: pa.Table) -> pa.Table:
    """Return rows of `SHARD_ROWS`, one for each question, or several, for `MAX_TARGETS` products each.

    Args:
        rows: Of `ACTIONS`, all of them to be asked; equal questions have one task and one key.

    Returns:
        Sorted by task and key; the products of a question in the order in which they come.
    """
    rows = rows.take(pc.sort_indices(rows, [("task", "ascending"), ("key", "ascending")])).combine_chunks()
    starts = _find_starts(rows)
    columns = [rows[name].combine_chunks() for name in _TARGET_NAMES]
    targets = pa.StructArray.from_arrays(columns, fields=list(TARGETS.value_type))
    firsts = rows.take(starts)
    merged = {name: firsts[name] for name in ("key", "task", "prompt_id", "fields")}
    merged["targets"] = pa.ListArray.from_arrays(pa.array([*starts.tolist(), len(rows)], pa.int32()), targets)
    return pa.table({**merged, "first_product": firsts["product_id"]}, schema=SHARD_ROWS)


def _find_starts(rows: pa.Table) -> np.ndarray:
    """Return where sorted rows have another question than the row before, or `MAX_TARGETS` products more."""
    is_first = np.ones(len(rows), dtype=bool)
    if len(rows) > 1:
        changes = [pc.not_equal(rows[name].slice(1), rows[name].slice(0, len(rows) - 1)) for name in ("task", "key")]
        is_first[1:] = pc.or_(*changes).to_numpy()
    starts = np.flatnonzero(is_first)
    within = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return np.flatnonzero(within % MAX_TARGETS == 0)


def divide_shards(rows: pa.Table, rows_per_shard: int) -> Iterator[pa.Table]:
    """Yield shards of at most `rows_per_shard` rows of `SHARD_ROWS`, never of two tasks, for `MAX_TARGETS` products.

    Args:
        rows: Those of a task side by side.
        rows_per_shard: At most.
    """
    num_targets = np.cumsum([0, *pc.list_value_length(rows["targets"]).to_pylist()])
    tasks = np.array(rows["task"].to_pylist(), dtype=object)
    ends = [*(np.flatnonzero(tasks[1:] != tasks[:-1]) + 1).tolist(), len(rows)]
    start = 0
    for end in ends:
        while start < end:
            most = int(np.searchsorted(num_targets, num_targets[start] + MAX_TARGETS, "right")) - 1
            stop = max(start + 1, min(end, start + rows_per_shard, most))
            yield rows.slice(start, stop - start)
            start = stop


def write_shards(storage: Storage, part: str, shards: Iterable[pa.Table]) -> list[Row]:
    """Write each shard as a file and return `task`, `shard`, `path`, `num_rows` and, of products, `num_targets`."""
    written = []
    for number, rows in enumerate(shards):
        name = f"{part}-{number:06d}"
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        path = f"shards/{name}.parquet"
        storage.write(path, sink.getvalue().to_pybytes())
        num_targets = pc.sum(pc.list_value_length(rows["targets"])).as_py()
        task = rows["task"][0].as_py()
        written.append({"task": task, "shard": name, "path": path, "num_rows": len(rows), "num_targets": num_targets})
    return written


def is_canary(shard: str) -> bool:
    """Whether a shard of this name is part of the canary."""
    return shard.startswith(f"{CANARY}-")


def load_shard(
    shard: Mapping[str, Any],
    storage: Storage,
    tasks: Mapping[str, Task],
    settings: PromptSettings = ASK_PLAINLY,
) -> pa.Table:
    """Return a shard as prompts, rows of `QUESTION_ROWS`.

    Args:
        shard: One of those that `write_shards` returned.
        storage: Where it stands.
        tasks: What the names in `task` stand for.
        settings: How tasks are asked.

    Raises:
        StorageError: if it cannot be read.
    """
    with storage.open(shard["path"]) as source:
        loaded = pq.read_table(source)
    task = tasks[shard["task"]]
    rows = []
    for row in loaded.to_pylist():
        record = {**dict.fromkeys(("group", "metric", "target")), "id": row["key"], **row}
        prompt = build_prompt(record, settings, task)
        extra = {"shard": shard["shard"], "targets": row["targets"], "prompt_id": row["prompt_id"]}
        rows.append({**prompt, **extra, "retry_params": _stricter(prompt, row["fields"], task)})
    names = QUESTION_ROWS.names
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema=QUESTION_ROWS)


def _stricter(prompt: Mapping[str, Any], fields: str, task: Task) -> str | None:
    """Hold a second try to the task's output, or, where the task has none, to a minimum of tokens."""
    if prompt.get("error"):
        return None
    params: str = prompt["sampling_params"]
    if '"structured_outputs"' in params:
        return params  # it was held to it the first time
    output = task.output(decode(fields))
    held = {"structured_outputs": output} if output else {"min_tokens": RETRY_MIN_TOKENS}
    return encode({**decode(params), **held})
