"""The folder in which one run sorts its rows, and the tasks that fill it, bucket by bucket."""

import fcntl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import IO, Any

from eshop_ray.config.loading import PRIVATE_DIR
from eshop_ray.enrichment.plan import (
    ACTIONS,
    PREVIOUS_ROWS,
    QUARANTINE_ROWS,
    Bucket,
    group_equal_questions,
    plan_bucket,
)
from eshop_ray.enrichment.questions import ASK, PromptContext
from eshop_ray.enrichment.result_writer import NO_FILE
from eshop_ray.enrichment.shards import group_shards, write_shards
from eshop_ray.enrichment.shuffle import Shuffle
from eshop_ray.enrichment.table import DataFile, Table
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import Row, bucket_of

_PREFIX = ".staging-"
_LOCK = ".lock"
"""In a run's folder; held for as long as its process lives."""
_ABANDONED_SECONDS = 2 * 86_400
"""Where the file system knows no locks: after this time no run can still be working in its folder."""


@dataclass(frozen=True, slots=True)
class Staging:
    """Folders of one run; all nodes see them."""

    folder: str
    num_buckets: int

    def shuffle(self, name: str) -> Shuffle:
        """Return one of the run's shuffles: `products`, `reviews`, `previous`, `keys`, `asked`, `resolved`, ..."""
        return Shuffle(str(Path(self.folder) / name))


def open_staging(run_dir: Path, run_id: str, num_buckets: int) -> tuple[Staging, IO[str]]:
    """Return an empty workspace and what holds it, and clear away those of runs that were killed."""
    parent = run_dir / "enrichment"
    for folder in parent.glob(f"{_PREFIX}*"):
        if not _is_held(folder):
            rmtree(folder, ignore_errors=True)
    folder = parent / f"{_PREFIX}{run_id}"
    new = parent / f".new{folder.name}"  # nobody looks at it before it is held
    new.mkdir(mode=PRIVATE_DIR, parents=True)
    lock = (new / _LOCK).open("w")
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(folder)
    return Staging(str(folder), num_buckets), lock


def _is_held(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        with suppress(OSError):
            return time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS
        return False


def sort_enriched(item: Row, table: Table, staging: Staging) -> Row:
    """Shuffle one file of the enriched table twice: by product, to be compared, and by key, to be found."""
    columns = ["product_id", "task", "key", "status", "inferred_at"]
    number, num_rows = item["number"], 0
    for part, batch in enumerate(table.iter_batches(DataFile.from_row(item["file"]), columns)):
        rows = [_previous_row(number, row) for row in batch.to_pylist()]
        num_rows += len(rows)
        name = f"file-{number:06d}-{part:06d}"
        by_product = ((bucket_of(row["product_id"], staging.num_buckets), row) for row in rows)
        staging.shuffle("previous").write(name, by_product, PREVIOUS_ROWS)
        by_key = ((bucket_of(row["key"], staging.num_buckets), row) for row in rows if row["has_prediction"])
        staging.shuffle("keys").write(name, by_key, PREVIOUS_ROWS)
    return {"num_rows": num_rows}


def _previous_row(number: int, row: Mapping[str, Any]) -> Row:
    kept = {name: row[name] for name in ("product_id", "task", "key", "status", "position")}
    return {**kept, "file": number, "has_prediction": row["inferred_at"] is not None}


def sort_quarantined(item: Row, table: Table, staging: Staging) -> Row:
    """Shuffle one file of the quarantine by product, or by fingerprint where the product is unknown."""
    columns = ["fingerprint", "product_id", "task", "reason", "attempts"]
    number, num_rows = item["number"], 0
    for part, batch in enumerate(table.iter_batches(DataFile.from_row(item["file"]), columns)):
        rows = [{**row, "file": number} for row in batch.to_pylist()]
        num_rows += len(rows)
        placed = ((bucket_of(row["product_id"] or row["fingerprint"], staging.num_buckets), row) for row in rows)
        staging.shuffle("quarantined").write(f"file-{number:06d}-{part:06d}", placed, QUARANTINE_ROWS)
    return {"num_rows": num_rows}


def plan_actions(bucket: int, staging: Staging, context: PromptContext, tokenizer_dir: str | None, replay: bool) -> Row:
    """Compare one bucket with last night's table and shuffle what is to be done.

    Returns:
        `counts`, and `asked`: rows to be asked per bucket of keys.
    """
    counts: Counter[str] = Counter()
    known = _read_bucket(staging, bucket)
    asked: Counter[int] = Counter()
    ask_rows: list[tuple[int, Row]] = []
    resolved: list[tuple[int, Row]] = []
    for row in plan_bucket(known, context, _token_counter(tokenizer_dir), replay, counts):
        if row["status"] == ASK:
            place = bucket_of(row["key"], staging.num_buckets)
            asked[place] += 1
            ask_rows.append((place, row))
        else:
            resolved.append((_copied_file(row), row))
    part = f"bucket-{bucket:06d}"
    staging.shuffle("asked").write(part, ask_rows, ACTIONS)
    staging.shuffle("resolved").write(part, resolved, ACTIONS)
    counts["num_duplicates"] += known.num_duplicates
    counts["num_superseded"] += known.num_superseded
    return {
        "counts": dict(counts),
        "asked": {str(key): value for key, value in asked.items()},
        "resolved": sorted({place for place, _ in resolved}),
    }


def _read_bucket(staging: Staging, number: int) -> Bucket:
    bucket = Bucket()
    for row in staging.shuffle("products").read([number]):
        bucket.add_product(row)
    for row in staging.shuffle("reviews").read([number]):
        bucket.reviews[row["product_id"]].append(row)
    for row in staging.shuffle("previous").read([number]):
        bucket.previous[row["product_id"], row["task"]] = row
    for row in staging.shuffle("quarantined").read([number]):
        bucket.add_quarantined(row)
    return bucket


def _token_counter(tokenizer_dir: str | None) -> Callable[[str], int]:
    if tokenizer_dir is None:
        return lambda text: len(text.split())
    tokenizer = load_tokenizer(Path(tokenizer_dir))
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _copied_file(row: Mapping[str, Any]) -> int:
    """Return where resolved rows meet: at the file that they copy from, so that a task opens one file only."""
    return int(row["copy_file"]) if row["copy_file"] is not None else NO_FILE


def resolve_asked(buckets: Sequence[int], staging: Staging, rows_per_shard: int) -> Row:
    """Find answers that the table has, merge equal questions, and write the rest as shards.

    Returns:
        `shards`: what inference is to load, `resolved`: files whose rows are copied.
    """
    rows = list(staging.shuffle("asked").read(buckets))
    keys = {row["key"] for row in rows}
    known = {
        row["key"]: (row["file"], row["position"])
        for row in staging.shuffle("keys").read(buckets)
        if row["key"] in keys
    }
    copies, groups = group_equal_questions(rows, known)
    part = f"asked-{buckets[0]:06d}"
    staging.shuffle("resolved").write(part, ((_copied_file(row), row) for row in copies), ACTIONS)
    shards = write_shards(Path(staging.folder) / "shards", part, group_shards(groups, rows_per_shard))
    return {"shards": shards, "resolved": sorted({_copied_file(row) for row in copies})}


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
