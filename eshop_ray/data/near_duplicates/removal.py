"""Rows whose texts are alike, of which one stays: MinHash proposes, the Jaccard similarity decides.

    rows -> stage -> sign -> digests: equal words -----------------------------> go
                        `-> bands: rows that meet -> hang together -> compare -> go

Every phase reads files and writes files, any of its items on any node. A run that is stopped goes on where it was, and
which rows go depends neither on blocks nor on workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint
from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.near_duplicates.candidates import (
    DROPPED,
    fill_bins,
    pair_bucket,
    read_array,
    read_edges,
    write_array,
)
from eshop_ray.data.near_duplicates.equal import judge_equal, read_removed
from eshop_ray.data.near_duplicates.judging import MEMBERS, gather_part, judge_bins, member_path
from eshop_ray.data.near_duplicates.signing import Job, sign_part
from eshop_ray.data.near_duplicates.staging import Columns, Part, read_part, stage_rows
from eshop_ray.data.near_duplicates.work import run_phase
from eshop_ray.datasets import map_items
from eshop_ray.exchange import Exchange
from eshop_ray.schema import Row
from eshop_ray.storage import Storage

NUM_EXAMPLES = 10
"""Near duplicates that are shown, those with the first ids."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What stays of a dataset, and what does not."""

    kept: Dataset
    """The rows that stay, with all their columns. It reads what was staged: keep the storage until it is consumed."""
    removed: Dataset
    """The rows that go, with the columns of `eshop_ray.data.near_duplicates.equal.REMOVED`."""
    report: Row
    """`num_rows`; `num_equal`, rows with the words of another, and `num_near`, others that are alike; `examples`."""


def remove_near_duplicates(
    rows: Dataset,
    section: NearDuplicatesSection,
    storage: Storage,
    id_column: str = "id",
    text_column: str = "text",
    priority_column: str | None = None,
    within_column: str | None = None,
) -> Removal:
    """Leave one row of each set of rows whose texts are alike: the first by priority, then by id.

    Rows make one set if they hang together by pairs of texts of a Jaccard similarity of at least `section.threshold`.
    Two such texts are missed once in 10,000 if they are just as alike as the threshold, and hardly ever if more.

    Args:
        rows: With ids of their own. They are computed once.
        section: What is alike.
        storage: An empty folder, or that of a run of the same rows that was stopped; the caller deletes it.
        id_column: Text.
        text_column: What is compared.
        priority_column: A number, the least stays; None takes the ids only.
        within_column: Text: rows in which it differs are not compared, such as questions of several kinds.

    Raises:
        UserError: if a column is missing, a row has no id, the storage refuses, or as the rows' own stages raised it.
    """
    storage.make_folder()
    columns = Columns(id_column, text_column, priority_column, within_column)
    parts = stage_rows(rows, columns, storage)
    num_rows = sum(part.num_rows for part in parts)
    key = fingerprint([section.model_dump(), asdict(columns), [asdict(part) for part in parts]])
    job = Job(storage, storage.below(key[:16]), columns, section, num_rows)
    job.storage.make_folder()
    if not parts:
        nothing = {"num_rows": 0, "num_equal": 0, "num_near": 0, "examples": []}
        return Removal(rows, map_items(_read_removed(job), []), nothing)
    signed = run_phase(job.storage, "sign", partial(sign_part, job), {part.name: asdict(part) for part in parts})
    equal = _find_equal(job, signed)
    near = _find_near(job, parts, signed, equal)
    _write_gone(job, parts, equal + near)
    kept = map_items(partial(_read_kept, job), [asdict(part) for part in parts])
    return Removal(kept, map_items(_read_removed(job), equal + near), _report(job, parts, equal, near))


def _find_equal(job: Job, signed: Sequence[Row]) -> list[str]:
    """Return the files with the rows whose words another has too, and write which these are."""
    exchange = job.equal.with_parts(part for report in signed for part in report["equal"])
    items = {
        f"{bucket:06d}": {"bucket": bucket, "path": f"equal/{bucket:06d}.arrow"}
        for bucket in range(exchange.num_buckets)
    }
    run_phase(job.storage, "equal", partial(judge_equal, job, exchange), items)
    return [str(item["path"]) for item in items.values()]


def _find_near(job: Job, parts: Sequence[Part], signed: Sequence[Row], equal: Sequence[str]) -> list[str]:
    """Return the files with the rows that are near duplicates of others."""
    is_dropped = np.zeros(job.num_rows, bool)
    for path in equal:
        is_dropped[read_removed(job.storage, path)["number"].to_numpy()] = True
    write_array(job.storage, DROPPED, is_dropped)
    near = job.near.with_parts(part for report in signed for part in report["near"])
    buckets = {f"{bucket:06d}": {"bucket": bucket} for bucket in range(near.num_buckets)}
    run_phase(job.storage, "pair", partial(pair_bucket, job, near), buckets)
    found = fill_bins(job.num_rows, read_edges(job, range(near.num_buckets)))
    for part in parts:
        places = np.flatnonzero(found.bins[part.start : part.start + part.num_rows] >= 0)
        numbers = places + part.start
        write_array(job.storage, member_path(part), np.stack([places, found.labels[numbers], found.bins[numbers]]))
    members = Exchange(job.storage, "near", MEMBERS, 1 + max((max(bins) for bins in found.tasks), default=0))
    items = {part.name: asdict(part) for part in parts}
    gathered = run_phase(job.storage, "gather", partial(gather_part, job, members), items)
    members = members.with_parts(part for report in gathered for part in report["members"])
    judged = {f"{bins[0]:06d}": {"bins": bins, "path": f"judge/{bins[0]:06d}.arrow"} for bins in found.tasks}
    run_phase(job.storage, "judge", partial(judge_bins, job, members), judged)
    return [str(item["path"]) for item in judged.values()]


def _write_gone(job: Job, parts: Sequence[Part], paths: Sequence[str]) -> None:
    """Write for each part the places of the rows that go."""
    is_gone = np.zeros(job.num_rows, bool)
    for path in paths:
        is_gone[read_removed(job.storage, path)["number"].to_numpy()] = True
    for part in parts:
        write_array(job.storage, _gone_path(part), np.flatnonzero(is_gone[part.start : part.start + part.num_rows]))


def _gone_path(part: Part) -> str:
    return f"gone/{part.name}.npy"


def _report(job: Job, parts: Sequence[Part], equal: Sequence[str], near: Sequence[str]) -> Row:
    counts = {"num_rows": job.num_rows, "num_equal": _count(job, equal), "num_near": _count(job, near)}
    return {**counts, "examples": _show_examples(job, parts, near)}


def _count(job: Job, paths: Sequence[str]) -> int:
    return sum(len(read_removed(job.storage, path)) for path in paths)


def _read_kept(job: Job, item: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Yield the rows of a part that stay."""
    part = Part(**item)
    is_kept = np.ones(part.num_rows, bool)
    is_kept[read_array(job.storage, _gone_path(part))] = False
    start = 0
    for batch in read_part(job.rows, part):
        yield pa.Table.from_batches([batch]).filter(pa.array(is_kept[start : start + len(batch)]))
        start += len(batch)


def _read_removed(job: Job) -> Callable[[str], Iterator[pa.Table]]:
    def read(path: str) -> Iterator[pa.Table]:
        yield read_removed(job.storage, path)

    return read


def _show_examples(job: Job, parts: Sequence[Part], paths: Sequence[str]) -> list[Row]:
    """Return `id`, `text`, `survivor`, `survivor_text` and `similarity` of some near duplicates."""
    first: list[Row] = []
    for path in paths:
        rows = read_removed(job.storage, path).sort_by("id").slice(0, NUM_EXAMPLES).to_pylist()
        first = sorted([*first, *rows], key=lambda row: (row["id"], row["number"]))[:NUM_EXAMPLES]
    numbers = {row[name] for row in first for name in ("number", "survivor_number")}
    texts = _read_texts(job, parts, sorted(numbers))
    return [
        {
            "id": row["id"],
            "text": texts[row["number"]],
            "survivor": row["survivor"],
            "survivor_text": texts[row["survivor_number"]],
            "similarity": row["similarity"],
        }
        for row in first
    ]


def _read_texts(job: Job, parts: Sequence[Part], numbers: Sequence[int]) -> dict[int, str]:
    """Return the texts of some rows by their numbers."""
    texts = {}
    for part in parts:
        wanted = [number for number in numbers if part.start <= number < part.start + part.num_rows]
        for rows in job.read_texts(part) if wanted else ():
            start = rows["number"][0].as_py()
            for number in wanted:
                if start <= number < start + len(rows):
                    texts[number] = rows["text"][number - start].as_py()
    return texts
