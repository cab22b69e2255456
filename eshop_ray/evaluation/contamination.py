"""Evaluation rows that training has seen, as they are or nearly so: their score says what was learnt by heart.

A row of another group that has the same text was asked something else: what it taught is the text, not the answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eshop_ray.data.cleaning import TRAIN
from eshop_ray.schema import decode
from eshop_ray.tasks.product import LABELS
from eshop_ray.words import fold_words, list_runs

NUM_WORDS = 5
"""Words of a shingle."""
NEAR = 0.8
"""Share of a row's shingles that one training row has, from which on they are nearly equal."""
MAX_SHARE = 0.01
"""Shingles, and fields, that more of the rows have are the wording of the question, and tell nothing."""
MIN_COMMON = 5
MIN_FIELD_WORDS = 2
"""A field of fewer words is in other groups by chance."""
BATCH_ROWS = 10_000

Group = tuple[str, str]
"""A task and one of its groups."""


@dataclass(slots=True)
class Seen:
    """What training has seen of one group's evaluation rows."""

    num_rows: int = 0
    equal: set[str] = field(default_factory=set)
    """Ids of rows whose fields a training row of the group has too, but for case, blanks and punctuation."""
    near: set[str] = field(default_factory=set)
    """Ids of others most of whose shingles one training row of the group has."""
    elsewhere: dict[str, set[str]] = field(default_factory=dict)
    """Other group -> ids of rows of whose fields one, or most of whose shingles, a training row of it has."""

    def describe(self) -> dict[str, Any]:
        """Return it as JSON has it, with three ids each."""
        others = set().union(*self.elsewhere.values())
        return {
            "num_rows": self.num_rows,
            "num_equal": len(self.equal),
            "num_near": len(self.near),
            "num_elsewhere": len(others),
            "elsewhere": {name: len(ids) for name, ids in sorted(self.elsewhere.items())},
            "examples": [row_id for ids in (self.equal, self.near, others) for row_id in sorted(ids)[:3]],
        }


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of a record."""

    row_id: str
    group: Group
    fields: Sequence[Sequence[str]]

    @property
    def words(self) -> list[str]:
        """Of all fields."""
        return [word for words in self.fields for word in words]

    @property
    def phrases(self) -> set[str]:
        """Fields that are long enough to be found elsewhere."""
        return {" ".join(words) for words in self.fields if len(words) >= MIN_FIELD_WORDS}


def find_seen(
    records_dir: Path, split: str, tasks: Sequence[str] = (), groups: Sequence[str] = (), trained: str = TRAIN
) -> dict[str, Seen]:
    """Look for evaluation rows among those of training, of all groups; training rows are read once and not kept.

    Args:
        records_dir: What `prepare_data` has written.
        split: That is scored.
        tasks: To look at; empty: all.
        groups: To look at; empty: all.
        trained: Split that models learn from.

    Returns:
        The task, or TASK/GROUP where a task has several groups -> what was seen; nothing where there are no rows to
        learn from.
    """
    folders = [folder for folder in sorted(records_dir.glob("task=*")) if not tasks or folder.name[5:] in tasks]
    learnt = [folder / f"split={trained}" for folder in folders if (folder / f"split={trained}").is_dir()]
    scored = [folder / f"split={split}" for folder in folders if (folder / f"split={split}").is_dir()]
    if split == trained or not learnt:
        return {}
    index = Index(row for folder in scored for row in _read(folder, groups))
    for folder in learnt:
        for row in _read(folder, groups):
            index.look_for(row)
    return index.close()


class Index:
    """Evaluation rows by what they hold."""

    def __init__(self, rows: Iterable[Texts]) -> None:
        """Take the rows, which are kept."""
        members: defaultdict[Group, list[Texts]] = defaultdict(list)
        for row in rows:
            members[row.group].append(row)
        self._seen = {group: Seen(len(rows)) for group, rows in members.items()}
        self._equal: defaultdict[tuple[Group, str], list[str]] = defaultdict(list)
        self._phrases: defaultdict[str, list[tuple[Group, str]]] = defaultdict(list)
        self._shingles: defaultdict[str, list[tuple[Group, str]]] = defaultdict(list)
        self._sizes: dict[tuple[Group, str], int] = {}
        self._elsewhere: defaultdict[tuple[Group, Group], set[str]] = defaultdict(set)
        for group, own in members.items():
            self._add(group, own)

    def _add(self, group: Group, rows: Sequence[Texts]) -> None:
        for row in rows:
            self._equal[group, " ".join(row.words)].append(row.row_id)
        for found, parts in (
            (self._phrases, [row.phrases for row in rows]),
            (self._shingles, [set(list_runs(row.words, NUM_WORDS)) for row in rows]),
        ):
            kept = _drop_common(parts)
            for row, own in zip(rows, kept, strict=True):
                for part in own:
                    found[part].append((group, row.row_id))
        for row, own in zip(rows, kept, strict=True):
            self._sizes[group, row.row_id] = len(own)

    def look_for(self, learnt: Texts) -> None:
        """Note which rows a training row tells."""
        if learnt.group in self._seen:
            self._seen[learnt.group].equal.update(self._equal.get((learnt.group, " ".join(learnt.words)), ()))
        for phrase in learnt.phrases:
            self._note_elsewhere(learnt.group, self._phrases.get(phrase, ()))
        parts = set(list_runs(learnt.words, NUM_WORDS))
        hits = Counter(owner for part in parts for owner in self._shingles.get(part, ()))
        near = [owner for owner, number in hits.items() if number >= NEAR * self._sizes[owner]]
        self._note_elsewhere(learnt.group, near)
        for group, row_id in near:
            if group == learnt.group:
                self._seen[group].near.add(row_id)

    def _note_elsewhere(self, learnt: Group, owners: Iterable[tuple[Group, str]]) -> None:
        for group, row_id in owners:
            if group != learnt:
                self._elsewhere[group, learnt].add(row_id)

    def close(self) -> dict[str, Seen]:
        """Return what was seen, by the names of groups."""
        groups = {*self._seen, *(learnt for _, learnt in self._elsewhere)}
        times = Counter(task for task, _ in groups)
        names = {group: group[0] if times[group[0]] == 1 else "/".join(group) for group in groups}
        for (group, learnt), ids in self._elsewhere.items():
            self._seen[group].elsewhere[names[learnt]] = ids
        for seen in self._seen.values():
            seen.near -= seen.equal
        return {names[group]: seen for group, seen in sorted(self._seen.items())}


def _drop_common(parts: Sequence[set[str]]) -> list[set[str]]:
    counts = Counter(part for own in parts for part in own)
    limit = max(MIN_COMMON, MAX_SHARE * len(parts))
    return [{part for part in own if counts[part] <= limit} for own in parts]


def _read(folder: Path, groups: Sequence[str]) -> Iterator[Texts]:
    """Yield the records of a task's split; the labels that a row is asked to choose from are not its text."""
    task = folder.parent.name.removeprefix("task=")
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["id", "group", "fields"]):
            for row in batch.to_pylist():
                group = row["group"] or task
                if not groups or group in groups:
                    values = [value for name, value in decode(row["fields"]).items() if name != LABELS]
                    yield Texts(row["id"], (task, group), [fold_words(" ".join(_list_texts(one))) for one in values])


def _list_texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _list_texts(one)
    elif value is not None:
        yield str(value)
