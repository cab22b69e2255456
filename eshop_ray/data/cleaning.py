"""Which rows stay, and in which split: plain decisions over rows of `ROW_SCHEMA`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.schema import Row, content_id, decode, encode

NO_FIELDS: Mapping[str, str] = MappingProxyType({})
TRAIN = "train"
"""The split that training reads."""
VALIDATION = "validation"
"""The split by which merges are chosen: not learned from, and not what scores are reported on."""

MAX_LABELS = 200
"""More categories than this do not fit into a prompt."""


def draw_split(content: str, eval_split: str, eval_share: float) -> str:
    """Return the split of a row that its source left open; the same content always gets the same one."""
    drawn = int(content[:8], 16) / 0x1_0000_0000
    return eval_split if drawn < eval_share else TRAIN


def draw_validation(row: Row, share: float, split_by: Mapping[str, str] = NO_FIELDS) -> str:
    """Return the row's split, or `validation` for a share of the training rows, always the same ones."""
    drawn = int(find_draw_key(row, split_by)[8:16], 16) / 0x1_0000_0000
    return VALIDATION if row["split"] == TRAIN and drawn < share else str(row["split"])


def find_split_rule(row: Row, split_by: Mapping[str, str]) -> str | None:
    """Return which key of `data.split_by` a row goes by: its group, else its task; None for neither."""
    return next((name for name in (row["group"], row["task"]) if name in split_by), None)


def find_draw_key(row: Row, split_by: Mapping[str, str]) -> str:
    """Return what a row's split is drawn by, 16 hex digits: its content, or the value of a field of it.

    Raises:
        UserError: if the row has no such field.
    """
    rule = find_split_rule(row, split_by)
    if rule is None:
        return str(row["content"])
    fields = decode(row["fields"])
    if split_by[rule] not in fields:
        raise UserError(
            f"`data.split_by.{rule}`: {row['path']}:{row['line']} has no field `{split_by[rule]}`; it has "
            f"{', '.join(f'`{name}`' for name in fields)}"
        )
    return content_id("split", encode(fields[split_by[rule]]))


def check_split_rules(split_by: Mapping[str, str], met: Iterable[str]) -> None:
    """Refuse rules that no row goes by: their rows would be divided one by one, in silence.

    Raises:
        UserError: naming the keys of `data.split_by`.
    """
    unknown = sorted(set(split_by) - set(met))
    if unknown:
        raise UserError(f"`data.split_by`: no row is of a task or group {', '.join(unknown)}")


def drop_repeats(
    rows: Iterable[Row], eval_split: str, eval_share: float, split_by: Mapping[str, str] = NO_FIELDS
) -> tuple[list[Row], Counter[str]]:
    """Keep one row per content, so that the splits are disjoint.

    Where a content stands in several splits the evaluated one keeps it, then any other, and training last; within
    a split the first by path and line. `id` is filled with the content's digest where the source gave none.

    Returns:
        The rows that stay, sorted by id, and how many left as `duplicate` or `in_another_split`.
    """
    kept: dict[str, Row] = {}
    dropped: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: (row["path"], row["line"])):
        row["split"] = row["split"] or draw_split(find_draw_key(row, split_by), eval_split, eval_share)
        other = kept.setdefault(row["content"], row)
        if other is row:
            continue
        if other["split"] == row["split"]:
            dropped["duplicate"] += 1
            continue
        dropped["in_another_split"] += 1
        kept[row["content"]] = min(other, row, key=lambda row: _precedence(row["split"], eval_split))
    for row in kept.values():
        row["id"] = row["id"] or row["content"]
    return sorted(kept.values(), key=lambda row: str(row["id"])), dropped


def check_validation(share: float, eval_split: str) -> None:
    """Refuse to choose by the rows that scores are reported on.

    Raises:
        UserError: if both are one split.
    """
    if share and eval_split == VALIDATION:
        raise UserError(
            f"`data.validation_share` fills the split `{VALIDATION}`, and `evaluate.split` names it too: what is "
            "chosen by these rows would be reported on them; set another `evaluate.split`"
        )


def find_conflicts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids (of the sources, not filled in) that stand for more than one content."""
    contents: dict[str, set[str]] = {}
    for row in rows:
        contents.setdefault(row["id"], set()).add(row["content"])
    return sorted(row_id for row_id, found in contents.items() if len(found) > 1)


def keep_newest(rows: Iterable[Row]) -> list[Row]:
    """Leave out rows of whose id (the source's, not one filled in) there is a newer version."""
    held = list(rows)
    newest: dict[str, float] = {}
    for row in held:
        if row["id"] is not None and row["version"] is not None:
            newest[row["id"]] = max(newest.get(row["id"], row["version"]), row["version"])
    return [row for row in held if row["version"] is None or row["version"] == newest.get(row["id"], row["version"])]


def check_malformed(rows: Sequence[Mapping[str, Any]], num_malformed: int, num_rows: int, max_share: float) -> None:
    """Refuse input with too many malformed rows.

    Args:
        rows: The first malformed rows, to be shown.
        num_malformed: How many there are in all.
        num_rows: Rows read, malformed ones included.
        max_share: `data.max_malformed_share`.

    Raises:
        UserError: with the first reasons, by file and line.
    """
    share = num_malformed / num_rows if num_rows else 0.0
    if share > max_share:
        reasons = "\n".join(f"  {describe(row)}" for row in rows)
        raise UserError(
            f"{num_malformed} of {num_rows} rows are malformed ({share:.2%}), more than data.max_malformed_share="
            f"{max_share:g} allows; mend the rows or raise the share. The first ones:\n{reasons}"
        )


def describe(row: Mapping[str, Any]) -> str:
    """Write a malformed row as `file:line: reason`."""
    return f"{row['path']}:{row['line']}: {row['reason']}"


def find_labels(rows: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return (group, category) of classification rows whose source could not know all labels."""
    return {
        (row["group"] or row["task"], decode(row["target"]))
        for row in rows
        if row["task"] == "classification" and "labels" not in decode(row["fields"])
    }


def fill_labels(row: Row, labels: Mapping[str, Sequence[str]]) -> Row:
    """Give a classification row without labels all categories of its group."""
    if row["task"] != "classification" or "labels" in (fields := decode(row["fields"])):
        return row
    return {**row, "fields": encode({"labels": labels[row["group"] or row["task"]], **fields})}


def check_labels(labels: Mapping[str, Sequence[str]]) -> None:
    """Refuse groups with more labels than a prompt can hold.

    Raises:
        UserError: naming the group.
    """
    for group, names in labels.items():
        if len(names) > MAX_LABELS:
            raise UserError(
                f"group {group}: {len(names)} distinct categories, a prompt holds {MAX_LABELS}; map the source's "
                "`category` to a coarser column, e.g. `options: {columns: {category: department}}`"
            )


def check_splits(counts: Mapping[tuple[str, str], int], tasks: Sequence[str], eval_split: str) -> None:
    """Refuse records that nothing could be trained on or evaluated with.

    Args:
        counts: (task, split) -> rows.
        tasks: `data.tasks`.
        eval_split: `evaluate.split`.

    Raises:
        UserError: naming the split or task without rows, and what was found.
    """
    found = sorted({split for _, split in counts})
    for split, key in ((TRAIN, "a source with `split: train`"), (eval_split, "`evaluate.split`")):
        if split not in found:
            raise UserError(
                f"split {split!r} is empty; found {', '.join(found) or 'no rows at all'}; check {key}, the sources' "
                "`path` and `split`, and `data.eval_share`"
            )
    for task in tasks:
        if not any(task == name for name, _ in counts):
            names = ", ".join(sorted({name for name, _ in counts}))
            raise UserError(f"task {task!r} has no row; the sources hold {names}; take it out of `data.tasks`")


def _precedence(split: str, eval_split: str) -> tuple[bool, bool, str]:
    return split != eval_split, split == TRAIN, split
