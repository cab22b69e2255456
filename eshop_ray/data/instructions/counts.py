"""What a build has done, counted where the rows are and summed in the driver."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.data.instructions.candidates import PASSED_ON
from eshop_ray.data.instructions.decontaminate import Index
from eshop_ray.data.instructions.plan import UNSEEN
from eshop_ray.data.instructions.shares import Shares
from eshop_ray.schema import Row
from eshop_ray.tasks.multiple_choice import TASK as CHOICE

MAX_EXAMPLES = 5
"""Rows of each reason that a card shows."""
COUNTED = ("group", "split", "source", "licence", "language", "route", "task")
TALLIED = ("source", "kind", "path", "line", "reason", "repaired", "cleaned", "left_out")
LENGTHS = (50, 100, 200, 400, 800, 1600, 3200)
"""Upper ends, in characters, of the classes in which lengths are counted."""
_EXAMPLE_CHARACTERS = 300
_MADE = ("teacher", "made", "group", "removed")


@dataclass(slots=True)
class Counts:
    """What was counted."""

    num_rows: int = 0
    by: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Column -> value -> rows that stay."""
    by_split: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(sub-task, split) -> rows that stay."""
    positions: dict[tuple[str, int], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """(sub-task, number of options) -> place of the right one -> rows that stay and were made here."""
    passed_positions: dict[tuple[str, int], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """The same of rows that are passed on, as their own sets place it."""
    num_unplaced: int = 0
    """Rows that stay and are multiple choice, but have no options of which the right one's place could be read."""
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """`prompt` or `answer` -> class of `LENGTHS` -> rows that stay."""
    removed: Counter[str] = field(default_factory=Counter)
    """Reason -> candidates that do not stay."""
    removed_by_group: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(sub-task, reason) -> candidates that do not stay."""
    shares: Shares = field(default_factory=dict)
    """Of their material that sub-tasks were made of."""
    drift: dict[str, list[Row]] = field(default_factory=dict)
    """Source -> in what its files differ, as `report_drift` has it."""
    made: Counter[tuple[str, str, str, str | None]] = field(default_factory=Counter)
    """(teacher, kind of row, sub-task, why it does not stay or None) -> rows that a teacher has made."""
    examples: dict[str, list[tuple[int, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Reason -> (rank, sub-task, text) of some."""
    material: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, kind) -> pieces read."""
    repaired: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, what was mended) -> pieces."""
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, why its texts are not worth learning from) -> pieces."""
    left_out_examples: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Why -> (source, text) of some."""
    malformed: Counter[str] = field(default_factory=Counter)
    """Source -> rows that could not be read."""
    malformed_examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Source -> `file:line: reason` of some."""

    def add_unread(self, index: Index) -> None:
        """Count the rows of evaluation sets that could not be read."""
        for path, number in index.num_malformed.items():
            self.malformed[f"evaluation set {path}"] += number
        for path, lines in index.malformed_examples.items():
            self.malformed_examples[f"evaluation set {path}"] += lines

    def explain(self) -> str:
        """Return what became of the material, for somebody who is left with nothing."""
        pieces = ", ".join(f"{source}: {number} {kind}" for (source, kind), number in sorted(self.material.items()))
        reasons = ", ".join(f"{reason}: {number}" for reason, number in self.removed.most_common(5))
        bad = [f"{source}: {number} left out as {why}" for (source, why), number in sorted(self.left_out.items())]
        bad += [f"{source}: {number} malformed" for source, number in sorted(self.malformed.items())]
        bad += [f"such as {examples[0]}" for examples in self.malformed_examples.values()]
        return f"read: {pieces or 'nothing'}; removed: {reasons or 'nothing'}" + "".join(f"; {one}" for one in bad)


def count_rows(material: Dataset, rows: Dataset) -> Counts:
    """Return the counts of a build.

    Args:
        material: Columns of `MATERIAL_SCHEMA`.
        rows: Columns of `CANDIDATE_SCHEMA`, all of them.
    """
    counts = Counts()
    for part in material.map_batches(_tally_material, batch_format="pyarrow").iter_rows():
        _add_material(counts, json.loads(part["tally"]))
    for part in rows.map_batches(_tally_rows, batch_format="pyarrow").iter_rows():
        _add_rows(counts, json.loads(part["tally"]))
    for reason, examples in counts.examples.items():
        counts.examples[reason] = sorted(examples)[:MAX_EXAMPLES]
    for reason, texts in counts.left_out_examples.items():
        counts.left_out_examples[reason] = sorted(texts)[:MAX_EXAMPLES]
    for source, lines in counts.malformed_examples.items():
        counts.malformed_examples[source] = sorted(lines)[:MAX_EXAMPLES]
    return counts


def classify_length(text: str) -> int:
    """Return the class of `LENGTHS` that a text is in; the last one has no upper end."""
    return next((place for place, end in enumerate(LENGTHS) if len(text) <= end), len(LENGTHS))


def _tally_material(table: pa.Table) -> pa.Table:
    rows = table.select([*TALLIED, "data"]).to_pylist()
    bad = [row for row in rows if row["reason"] is not None]
    left_out = sorted((row["left_out"], row["source"], row["data"]) for row in rows if row["left_out"] is not None)
    found = {
        "material": _pairs(Counter((row["source"], row["kind"]) for row in rows if row["kind"] is not None)),
        "repaired": _pairs(Counter(repair for row in rows for repair in _list_repairs(row))),
        "left_out": _pairs(Counter((source, reason) for reason, source, _ in left_out)),
        "left_out_examples": [
            (reason, source, text[:_EXAMPLE_CHARACTERS])
            for _, same in groupby(left_out, key=itemgetter(0))
            for reason, source, text in islice(same, MAX_EXAMPLES)
        ],
        "malformed": _pairs(Counter((row["source"],) for row in bad)),
        "examples": [(row["source"], f"{row['path']}:{row['line']}: {row['reason']}") for row in _pick_few(bad)],
    }
    return pa.table({"tally": [json.dumps(found)]})


def _list_repairs(row: Row) -> list[tuple[str, str]]:
    names = [row["repaired"], *(row["cleaned"] or "").split(", ")]
    return [(row["source"], name) for name in names if name]


def _pick_few(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["source"], row["path"], row["line"]))[: 4 * MAX_EXAMPLES]


def _tally_rows(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    kept = [row for row in rows if row["removed"] is None]
    gone = [row for row in rows if row["removed"] is not None]
    found = {
        "by": _pairs(Counter((name, row[name]) for row in kept for name in COUNTED)),
        "by_split": _pairs(Counter((row["group"], row["split"]) for row in kept)),
        "positions": _count_positions(row for row in kept if row["route"] != PASSED_ON),
        "passed_positions": _count_positions(row for row in kept if row["route"] == PASSED_ON),
        "num_unplaced": sum(row["task"] == CHOICE.name and row["position"] is None for row in kept),
        "lengths": _pairs(Counter(length for row in kept for length in _measure(row))),
        "removed": _pairs(Counter((row["group"], row["removed"]) for row in gone)),
        "made": _pairs(Counter(tuple(row[name] for name in _MADE) for row in rows if row["made"] is not None)),
        "examples": _take_examples(gone),
    }
    return pa.table({"tally": [json.dumps(found)]})


def count_splits(rows: Dataset) -> Counter[tuple[str, str]]:
    """Return (sub-task, split) -> candidates that are not marked."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows.map_batches(_count_splits, batch_format="pyarrow").iter_rows():
        counts[row["group"], row["split"]] += row["number"]
    return counts


def _count_splits(table: pa.Table) -> pa.Table:
    kept = table.filter(pc.is_null(table["removed"])).select(["group", "split"])
    return kept.group_by(["group", "split"]).aggregate([([], "count_all")]).rename_columns(["group", "split", "number"])


def _is_placed(row: Row) -> bool:
    """Whether a row counts for the places of right options; a question in its unseen wording has been counted."""
    return row["position"] is not None and row["split"] != UNSEEN


def _count_positions(rows: Iterable[Row]) -> list[tuple[list[object], int]]:
    return _pairs(Counter((row["group"], row["num_options"], row["position"]) for row in rows if _is_placed(row)))


def _measure(row: Row) -> Iterable[tuple[str, int]]:
    yield "prompt", classify_length(row["messages"][-2]["content"])
    yield "answer", classify_length(row["messages"][-1]["content"])


def _take_examples(rows: Sequence[Row]) -> list[tuple[str, int, str, str]]:
    by_reason: defaultdict[str, list[tuple[str, int, str, str]]] = defaultdict(list)
    for row in rows:
        text = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")[:_EXAMPLE_CHARACTERS]
        by_reason[row["removed"]].append((row["removed"], row["rank"], row["group"], text))
    return [one for found in by_reason.values() for one in islice(sorted(found), MAX_EXAMPLES)]


def _pairs(counter: Mapping[tuple[object, ...], int]) -> list[tuple[list[object], int]]:
    return [(list(key), number) for key, number in counter.items()]


def _add_material(counts: Counts, found: Mapping[str, Any]) -> None:
    for (source, kind), number in found["material"]:
        counts.material[source, kind] += number
    for (source, repair), number in found["repaired"]:
        counts.repaired[source, repair] += number
    for (source, reason), number in found["left_out"]:
        counts.left_out[source, reason] += number
    for reason, source, text in found["left_out_examples"]:
        counts.left_out_examples[reason].append((source, text))
    for (source,), number in found["malformed"]:
        counts.malformed[source] += number
    for source, line in found["examples"]:
        counts.malformed_examples[str(source)].append(str(line))


def _add_rows(counts: Counts, found: Mapping[str, Any]) -> None:
    for (name, value), number in found["by"]:
        counts.by[name][value] += number
    for (group, split), number in found["by_split"]:
        counts.by_split[group, split] += number
        counts.num_rows += number
    for (group, num_options, position), number in found["positions"]:
        counts.positions[group, num_options][position] += number
    for (group, num_options, position), number in found["passed_positions"]:
        counts.passed_positions[group, num_options][position] += number
    counts.num_unplaced += found["num_unplaced"]
    for (name, length), number in found["lengths"]:
        counts.lengths[name][length] += number
    for (group, reason), number in found["removed"]:
        counts.removed[reason] += number
        counts.removed_by_group[group, reason] += number
    for (teacher, made, group, reason), number in found["made"]:
        counts.made[teacher, made, group, reason] += number
    for reason, rank, group, text in found["examples"]:
        counts.examples[reason].append((rank, group, text))
