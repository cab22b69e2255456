"""Shards of inference: rows of one task that are answered, written and committed together.

A shard is one file before the engine, and a part of the exchange of results after it. Its name goes along, so that a
shard counts once, however often a cluster in trouble runs it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.data.prompts import build_prompt
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


def merge_groups(groups: Iterable[Sequence[Row]]) -> Iterator[Row]:
    """Yield a row of `SHARD_ROWS` for each group of equal questions, or several, for `MAX_TARGETS` products each."""
    for group in groups:
        for start in range(0, len(group), MAX_TARGETS):
            first = group[start]
            targets = [{name: row[name] for name in _TARGET_NAMES} for row in group[start : start + MAX_TARGETS]]
            asked = {name: first[name] for name in ("key", "task", "prompt_id", "fields")}
            yield {**asked, "targets": targets, "first_product": first["product_id"]}


def group_shards(rows: Iterable[Row], rows_per_shard: int) -> Iterator[list[Row]]:
    """Yield shards of at most `rows_per_shard` rows of `SHARD_ROWS`, never of two tasks, for `MAX_TARGETS` products."""
    shard: list[Row] = []
    num_targets = 0
    for row in rows:
        is_full = len(shard) >= rows_per_shard or num_targets + len(row["targets"]) > MAX_TARGETS
        if shard and (is_full or shard[0]["task"] != row["task"]):
            yield shard
            shard, num_targets = [], 0
        shard.append(row)
        num_targets += len(row["targets"])
    if shard:
        yield shard


def write_shards(storage: Storage, part: str, shards: Iterable[Sequence[Row]]) -> list[Row]:
    """Write each shard as a file and return `task`, `shard`, `path`, `num_rows` and, of products, `num_targets`."""
    written = []
    for number, rows in enumerate(shards):
        name = f"{part}-{number:06d}"
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=SHARD_ROWS), sink, compression="zstd")
        path = f"shards/{name}.parquet"
        storage.write(path, sink.getvalue().to_pybytes())
        num_targets = sum(len(row["targets"]) for row in rows)
        written.append(
            {"task": rows[0]["task"], "shard": name, "path": path, "num_rows": len(rows), "num_targets": num_targets}
        )
    return written


def is_canary(shard: str) -> bool:
    """Whether a shard of this name is part of the canary."""
    return shard.startswith(f"{CANARY}-")


def load_shard(
    shard: Mapping[str, Any], storage: Storage, tasks: Mapping[str, Task], temperature: float, constrained: bool
) -> pa.Table:
    """Return a shard as prompts, rows of `QUESTION_ROWS`.

    Args:
        shard: One of those that `write_shards` returned.
        storage: Where it stands.
        tasks: What the names in `task` stand for.
        temperature: Sampling temperature.
        constrained: Hold decoding to the task's declared output.

    Raises:
        StorageError: if it cannot be read.
    """
    with storage.open(shard["path"]) as source:
        loaded = pq.read_table(source)
    task = tasks[shard["task"]]
    rows = []
    for row in loaded.to_pylist():
        record = {**dict.fromkeys(("group", "metric", "target")), "id": row["key"], **row}
        prompt = build_prompt(record, temperature, constrained, task)
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
