"""The tasks that plan a night, bucket by bucket: each reads some exchanges of the run and fills others."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.artifacts import AnyFolder
from eshop_ray.enrichment.canary.sample import Candidates, Draw, split
from eshop_ray.enrichment.compare import BucketTables, compare_bucket
from eshop_ray.enrichment.placing import place_by, place_values
from eshop_ray.enrichment.plan import ACTIONS, PREVIOUS_ROWS, QUARANTINE_ROWS, plan_bucket
from eshop_ray.enrichment.questions import ASK, DELETED, ENRICHED, PromptContext
from eshop_ray.enrichment.result_writer import NO_FILE
from eshop_ray.enrichment.shards import CANARY, divide_shards, merge_questions, write_shards
from eshop_ray.enrichment.table import DataFile, Table
from eshop_ray.exchange import Buckets, Exchange, PartWriter
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import Row


def sort_keys(item: Row, table: Table, keys: Exchange, asked: np.ndarray | None) -> Row:
    """Exchange the answers of some files of the enriched table by key, to be found; return `parts`.

    Args:
        item: `files` and their numbers.
        table: The enriched table.
        keys: Where to.
        asked: Sorted beginnings of the keys that are looked for, as `key_beginnings` returns them; None: all.
    """
    writer = PartWriter(keys, f"files-{item['number']:06d}", place_by(("prediction_key",), keys.num_buckets))
    for rows in _read_previous(item["files"], table):
        found = rows.filter(rows["prediction_key"].is_valid())
        if asked is not None and len(found):
            found = found.filter(np.isin(key_beginnings(found["prediction_key"]), asked, kind="sort"))
        writer.add(found)
    return {"parts": writer.close()}


def _read_previous(files: Sequence[Row], table: Table) -> Iterator[pa.Table]:
    """Yield last night's rows, file by file, with the columns of `PREVIOUS_ROWS`."""
    for row in files:
        rows = table.read_file(DataFile.from_row(row["file"]), _STORED_PREVIOUS)
        rows = rows.append_column("has_reviewers", pc.is_valid(rows["reviewers"]))
        rows = rows.append_column("file", pa.repeat(pa.scalar(row["number"], pa.int32()), len(rows)))
        yield rows.select(PREVIOUS_ROWS.names).cast(PREVIOUS_ROWS)


def key_beginnings(keys: pa.ChunkedArray) -> np.ndarray:
    """Return the first characters of each key, as a number: enough to leave most others aside."""
    cut = pc.binary_slice(pc.utf8_rpad(keys, _BEGINNING, "0").cast(pa.binary()), 0, _BEGINNING)
    fixed = pa.chunked_array(cut).cast(pa.binary(_BEGINNING)).combine_chunks()
    numbers: np.ndarray = np.frombuffer(fixed.buffers()[1], np.int64, len(fixed), 8 * fixed.offset)
    return numbers


_BEGINNING = np.dtype(np.int64).itemsize


_STORED_PREVIOUS = [
    *(name for name in PREVIOUS_ROWS.names if name not in ("has_reviewers", "file", "position")),
    "reviewers",
]
FILE_GROUP_BYTES = 64 << 20
FILE_GROUP_SIZE = 64
"""Bytes and files of a table that one task reads."""


def number_files(files: Iterable[DataFile]) -> list[Row]:
    """Return `number` and `file` of a table's files."""
    return [{"number": number, "file": file.to_row()} for number, file in enumerate(files)]


def group_files(files: Sequence[Row]) -> list[Row]:
    """Return `number` and `files` of groups of what `number_files` returned."""
    groups: list[Row] = []
    size = 0
    for row in files:
        if not groups or len(groups[-1]["files"]) >= FILE_GROUP_SIZE or size >= FILE_GROUP_BYTES:
            groups.append({"number": len(groups), "files": []})
            size = 0
        groups[-1]["files"].append(row)
        size += row["file"]["size"]
    return groups


@dataclass(slots=True)
class Plan:
    """What is to be done, as the tasks report it."""

    asked: Exchange
    resolved: Exchange
    asked_parts: list[Row] = field(default_factory=list)
    resolved_parts: list[Row] = field(default_factory=list)
    num_asked: Counter[int] = field(default_factory=Counter)
    """By bucket of keys."""
    copied: set[int] = field(default_factory=set)
    """Files that resolved rows copy from, `NO_FILE` among them."""
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(task, change) -> rows."""
    samples: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Some products that are deleted or changed."""
    beginnings: set[int] | None = field(default_factory=set)
    """Of the keys that are asked; None: too many to tell."""

    def add(self, report: Row) -> None:
        """Take what `plan_actions` returned."""
        self.num_asked.update({int(bucket): count for bucket, count in report["asked"].items()})
        self.asked_parts += report["asked_parts"]
        self.resolved_parts += report["resolved_parts"]
        self.copied.update(report["resolved"])
        self.changes.update({(task, change): number for task, change, number in report["changes"]})
        for change, products in report["samples"].items():
            self.samples[change] = set(sorted(self.samples[change].union(products))[:NUM_SAMPLES])
        if self.beginnings is not None:
            self.beginnings.update(report["keys"])
            if len(self.beginnings) > MAX_BEGINNINGS:
                self.beginnings = None

    @property
    def key_beginnings(self) -> np.ndarray | None:
        """Those of the keys that are asked, sorted; None: any may be."""
        return None if self.beginnings is None else np.array(sorted(self.beginnings), np.int64)


MAX_BEGINNINGS = 500_000
"""With more questions than this, looking each key of the table up costs more than it saves."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """What planning reads."""

    products: Exchange
    reviews: Exchange
    enriched: Table
    quarantine: Table

    def read(self, item: Row) -> BucketTables:
        """Return one bucket: its number, and its `files` and `bad_files` as `number_files` gives them."""
        bucket = item["bucket"]
        bad = [
            self.quarantine.read_file(DataFile.from_row(row["file"]), QUARANTINE_ROWS.names)
            for row in item["bad_files"]
        ]
        return BucketTables(
            products=self.products.read(bucket),
            reviews=self.reviews.read(bucket),
            previous=pa.concat_tables([PREVIOUS_ROWS.empty_table(), *_read_previous(item["files"], self.enriched)]),
            quarantined=pa.concat_tables(
                [QUARANTINE_ROWS.empty_table(), *(rows.select(QUARANTINE_ROWS.names) for rows in bad)]
            ),
        )


def bucket_items(num_buckets: int, files: Iterable[DataFile], bad_files: Iterable[DataFile]) -> list[Row]:
    """Return what planning is given, bucket by bucket."""
    items: list[Row] = [{"bucket": bucket, "files": [], "bad_files": []} for bucket in range(num_buckets)]
    for name, found in (("files", files), ("bad_files", bad_files)):
        for row in number_files(found):
            items[DataFile.from_row(row["file"]).bucket][name].append(row)
    return items


def plan_actions(
    item: Row,
    inputs: PlanInputs,
    asked: Exchange,
    resolved: Exchange,
    context: PromptContext,
    paths: Sequence[str],
    tokenizer_dir: AnyFolder | None,
    replay: bool,
    holds_missing: bool,
) -> Row:
    """Compare one bucket with last night's table and exchange what is to be done.

    Returns:
        `counts`; `asked_parts`, `asked`: rows to be asked per bucket of keys, and `keys`: the beginnings of theirs;
        `resolved_parts`, `resolved`: numbers of the files that resolved rows copy from.
    """
    counts: Counter[str] = Counter()
    known = compare_bucket(inputs.read(item), context, paths)
    name = f"bucket-{item['bucket']:06d}"
    to_ask = PartWriter(asked, name, place_by(("key",), asked.num_buckets))
    to_resolve = PartWriter(resolved, name, _by_copied_file)
    num_asked: Counter[int] = Counter()
    copied: set[int] = set()
    beginnings: list[int] = []
    changes: Counter[tuple[str, str]] = Counter()
    samples: dict[str, list[str]] = {DELETED: [], "changed": []}
    actions = plan_bucket(known, context, _token_counter(tokenizer_dir), replay, counts, holds_missing)
    while chunk := list(islice(actions, ACTION_ROWS)):
        for row in chunk:
            changes[row["task"], row["change"]] += row["task"] is not None
        for change, products in samples.items():
            told = {row["product_id"] for row in chunk if row["change"] == change}
            samples[change] = sorted(told.union(products))[:NUM_SAMPLES]
        rows = [row for row in chunk if row["status"] == ASK]
        if rows:
            table = pa.Table.from_pylist(rows, ACTIONS)
            num_asked.update(place_values([table["key"]], asked.num_buckets).tolist())
            beginnings += key_beginnings(table["key"]).tolist()
            to_ask.add(table)
        rows = [row for row in chunk if row["status"] != ASK]
        copied.update(map(_copied_file, rows))
        to_resolve.add(pa.Table.from_pylist(rows, ACTIONS))
    counts["num_duplicates"] += known.num_duplicates
    counts["num_superseded"] += known.num_superseded
    return {
        "counts": dict(counts),
        "asked": {str(key): value for key, value in num_asked.items()},
        "keys": sorted(set(beginnings)),
        "asked_parts": to_ask.close(),
        "resolved": sorted(copied),
        "resolved_parts": to_resolve.close(),
        "samples": samples,
        "changes": [[task, change, number] for (task, change), number in changes.items() if number],
    }


NUM_SAMPLES = 3
"""Products that a message shows."""
ACTION_ROWS = 8_000
"""Rows of `ACTIONS` that planning holds as Python values."""


def _token_counter(tokenizer_dir: AnyFolder | None) -> Callable[[str], int]:
    if tokenizer_dir is None:
        return lambda text: len(text.split())
    # Loaded for the first text that is to be counted: few are.
    return lambda text: len(load_tokenizer(tokenizer_dir, for_chat=False)(text, add_special_tokens=False)["input_ids"])


def _copied_file(row: Mapping[str, Any]) -> int:
    """Return where resolved rows meet: at the file that they copy from, so that a task opens one file only."""
    return int(row["copy_file"]) if row["copy_file"] is not None else NO_FILE


def _by_copied_file(rows: pa.Table) -> Buckets:
    """Return the bucket of resolved rows: 0 for those that copy nothing, else one more than the file's number."""
    places: Buckets = rows["copy_file"].fill_null(NO_FILE).to_numpy() + 1
    return places


def resolve_asked(
    buckets: Sequence[int],
    asked: Exchange,
    keys: Exchange,
    resolved: Exchange,
    questions: Exchange,
    canary_rows: int = 0,
) -> Row:
    """Find answers that the table has, and merge equal questions.

    Returns:
        `questions`: how many there are per bucket of the first product that asks, and the `question_parts`; `resolved`:
        files whose rows are copied, and the `resolved_parts`; `candidates` for a canary of `canary_rows`.
    """
    start, stop = buckets[0], buckets[-1] + 1
    copies, rows = take_answers(asked.read(start, stop), keys.read(start, stop))
    part = f"asked-{start:06d}"
    to_resolve = PartWriter(resolved, part, _by_copied_file)
    to_resolve.add(copies)
    to_ask = PartWriter(questions, part, place_by(("first_product",), questions.num_buckets))
    merged = merge_questions(rows)
    to_ask.add(merged)
    counted = Counter(place_values([merged["first_product"]], questions.num_buckets).tolist())
    candidates = Candidates(canary_rows)
    candidates.add_questions(merged)
    return {
        "candidates": candidates.hashes,
        "questions": {str(bucket): number for bucket, number in counted.items()},
        "question_parts": to_ask.close(),
        "resolved": copies["copy_file"].unique().sort().to_pylist(),
        "resolved_parts": to_resolve.close(),
    }


def take_answers(rows: pa.Table, known: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Divide asked rows into those whose answer the table has, and the others.

    Args:
        rows: Of `ACTIONS`, with the status `ask`.
        known: Of `PREVIOUS_ROWS`, with a prediction.

    Returns:
        Rows with `copy_*` filled in and the status `enriched`; the others, as they are.
    """
    places = pc.index_in(rows["key"], value_set=known["prediction_key"].combine_chunks())
    copies, sources = rows.filter(places.is_valid()), known.take(places.drop_null())
    filled = {
        "status": pa.repeat(ENRICHED, len(copies)),
        "fields": pa.nulls(len(copies), pa.string()),
        "copy_file": sources["file"],
        "copy_position": sources["position"],
    }
    columns = [filled.get(name, copies[name]) for name in ACTIONS.names]
    return pa.table(columns, schema=ACTIONS), rows.filter(places.is_null())


def cut_shards(buckets: Sequence[int], questions: Exchange, rows_per_shard: int, drawn: Draw) -> Row:
    """Write the questions of some buckets as shards, task by task, and return `shards`: what inference is to load.

    Those of the canary stand in shards of their own.
    """
    rows = questions.read(buckets[0], buckets[-1] + 1)
    homes = pa.array(place_values([rows["first_product"]], questions.num_buckets))
    order = pc.sort_indices(
        rows.select(["task", "key"]).append_column("home", homes),
        [("task", "ascending"), ("home", "ascending"), ("key", "ascending")],
    )
    return {
        "shards": [
            shard
            for name, chosen in zip((CANARY, "questions"), split(rows.take(order), drawn), strict=True)
            for shard in write_shards(
                questions.storage, f"{name}-{buckets[0]:06d}", divide_shards(chosen, rows_per_shard)
            )
        ]
    }


def divide_buckets(asked: Mapping[int, int], max_rows: int) -> Iterator[list[int]]:
    """Group buckets of keys so that a task has about `max_rows` rows, however few changed."""
    held: list[int] = []
    num_rows = 0
    for bucket in sorted(asked):
        held.append(bucket)
        num_rows += asked[bucket]
        if num_rows >= max_rows:
            yield held
            held, num_rows = [], 0
    if held:
        yield held
