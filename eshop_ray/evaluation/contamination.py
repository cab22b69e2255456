"""Evaluation rows that training has seen, as they are or nearly so: their score says what was learnt by heart."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eshop_ray.data.cleaning import TRAIN
from eshop_ray.evaluation.folded_words import fold_words
from eshop_ray.schema import decode

NUM_WORDS = 5
"""Words of a shingle."""
NEAR = 0.8
"""Share of a row's shingles that one training row has, from which on they are nearly equal."""
MAX_SHARE = 0.01
"""Shingles that more of the rows have are the wording of the question, and tell nothing."""
MIN_COMMON = 5
BATCH_ROWS = 10_000


@dataclass(slots=True)
class Seen:
    """What training has seen of one task's evaluation rows."""

    num_rows: int
    equal: set[str] = field(default_factory=set)
    """Ids of rows whose fields a training row has too, but for case, blanks and punctuation."""
    near: set[str] = field(default_factory=set)
    """Ids of others most of whose shingles one training row has."""

    def describe(self) -> dict[str, Any]:
        """Return it as JSON has it, with three ids each."""
        return {
            "num_rows": self.num_rows,
            "num_equal": len(self.equal),
            "num_near": len(self.near),
            "examples": [*sorted(self.equal)[:3], *sorted(self.near)[:3]],
        }


def find_seen(records_dir: Path, split: str, tasks: Iterable[str] = (), trained: str = TRAIN) -> dict[str, Seen]:
    """Look for evaluation rows among those of training, task by task; training rows are read once and not kept.

    Args:
        records_dir: What `prepare_data` has written.
        split: That is scored.
        tasks: To look at; empty: all.
        trained: Split that models learn from.

    Returns:
        Task -> what was seen; tasks without rows to learn from are left out.
    """
    found = {}
    all_tasks = (folder.name.removeprefix("task=") for folder in sorted(records_dir.glob("task=*")))
    for task in tasks or all_tasks:
        folder = records_dir / f"task={task}"
        if (folder / f"split={split}").is_dir() and (folder / f"split={trained}").is_dir() and split != trained:
            found[task] = _compare(
                dict(_read(folder / f"split={split}")),
                (words for _, words in _read(folder / f"split={trained}")),
            )
    return found


def _compare(rows: Mapping[str, list[str]], learnt: Iterable[list[str]]) -> Seen:
    by_text: defaultdict[str, list[str]] = defaultdict(list)
    for row_id, words in rows.items():
        by_text[" ".join(words)].append(row_id)
    shingles = _drop_common({row_id: set(_list_shingles(words)) for row_id, words in rows.items()})
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for row_id, own in shingles.items():
        for shingle in own:
            owners[shingle].append(row_id)
    seen, near = Seen(len(rows)), set[str]()
    for words in learnt:
        seen.equal.update(by_text.get(" ".join(words), ()))
        hits = Counter(row_id for shingle in set(_list_shingles(words)) for row_id in owners.get(shingle, ()))
        near.update(row_id for row_id, number in hits.items() if number >= NEAR * len(shingles[row_id]))
    seen.near = near - seen.equal
    return seen


def _drop_common(shingles: Mapping[str, set[str]]) -> dict[str, set[str]]:
    counts = Counter(shingle for own in shingles.values() for shingle in own)
    limit = max(MIN_COMMON, MAX_SHARE * len(shingles))
    return {row_id: {shingle for shingle in own if counts[shingle] <= limit} for row_id, own in shingles.items()}


def _list_shingles(words: list[str]) -> Iterator[str]:
    return (" ".join(words[start : start + NUM_WORDS]) for start in range(len(words) - NUM_WORDS + 1))


def _read(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield id and words of each record's fields."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["id", "fields"]):
            for row_id, text in zip(batch["id"].to_pylist(), batch["fields"].to_pylist(), strict=True):
                yield row_id, fold_words(" ".join(_list_texts(decode(text))))


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _list_texts(one)
    elif value is not None:
        yield str(value)
