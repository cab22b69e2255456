"""The card of a build: what is in it, where it comes from, what was removed and why, and whether it can be trusted."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from scipy import stats

from eshop_ray.config import SubtaskSection
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.builders import get_subtask
from eshop_ray.data.instructions.choose import PASSED_OVER
from eshop_ray.data.instructions.counts import LENGTHS, Counts
from eshop_ray.data.instructions.material import KINDS
from eshop_ray.data.instructions.plan import Plan, find_unplanned, list_splits, takes
from eshop_ray.data.instructions.teacher.commission import REASONED, TRANSLATED, WRITTEN

_MAX_EXPLAINED = 3
"""Sub-tasks."""


def describe_build(plan: Plan, counts: Counts, digest: str) -> dict[str, Any]:
    """Return the card as JSON has it.

    Args:
        plan: The recipe.
        counts: What was counted.
        digest: Of the rows' files.
    """
    return {
        "digest": digest,
        "recipe_digest": plan.digest,
        "seed": plan.seed,
        "num_rows": counts.num_rows,
        "num_subtasks": len(counts.by["group"]),
        "languages": sorted(counts.by["language"]),
        "rows_by_source": _sort(counts.by["source"]),
        "rows_by_route": _sort(counts.by["route"]),
        "rows_by_language": _sort(counts.by["language"]),
        "rows_by_licence": _sort(counts.by["licence"]),
        "rows_by_task": _sort(counts.by["task"]),
        "rows_by_split": _sort(counts.by["split"]),
        "rows_by_subtask": describe_subtasks(plan, counts),
        "num_removed": _sort(counts.removed),
        "removed_examples": {
            reason: [{"subtask": group, "text": text} for _, group, text in examples]
            for reason, examples in sorted(counts.examples.items())
        },
        "num_repaired": {f"{source}: {repair}": number for (source, repair), number in sorted(counts.repaired.items())},
        "num_left_out": {f"{source}: {reason}": number for (source, reason), number in sorted(counts.left_out.items())},
        "left_out_examples": {
            reason: [{"source": source, "text": text} for source, text in examples]
            for reason, examples in sorted(counts.left_out_examples.items())
        },
        "num_malformed": _sort(counts.malformed),
        "malformed_examples": dict(sorted(counts.malformed_examples.items())),
        "drift": counts.drift,
        "material": _describe_material(counts),
        "teacher": describe_teacher(plan, counts) if plan.teacher else None,
        "absent": describe_absent(plan, counts),
        "position_bias_p": compute_position_bias(counts.positions),
        "position_bias_p_passed_on": compute_position_bias(counts.passed_positions),
        "position_bias_p_by_subtask": {
            **_describe_positions(counts.positions, ""),
            **_describe_positions(counts.passed_positions, ", passed on"),
        },
        "num_without_position": counts.num_unplaced,
        "num_characters": {name: _describe_lengths(found) for name, found in sorted(counts.lengths.items())},
    }


def compute_position_bias(positions: Mapping[tuple[str, int], Counter[int]]) -> float | None:
    """Return how likely places of right options were so uneven if each were as likely; None where there are none."""
    statistic, freedom = sum_position_bias(positions)
    return float(stats.chi2.sf(statistic, freedom)) if freedom else None


def _describe_positions(positions: Mapping[tuple[str, int], Counter[int]], told: str) -> dict[str, float]:
    return {
        f"{group}/{number}{told}": float(stats.chisquare([found[place] for place in range(number)]).pvalue)
        for (group, number), found in sorted(positions.items())
    }


def sum_position_bias(positions: Mapping[tuple[str, int], Counter[int]]) -> tuple[float, int]:
    """Return the sum of the chi-square statistics of all sub-tasks, and of their degrees of freedom.

    Were the right option at each place as often, sums of chi-square variables would be of that distribution again
    (Cochran, "The chi-square test of goodness of fit", Annals of Mathematical Statistics 23(3), 1952).
    """
    totals: dict[tuple[str, int], list[int]] = {
        key: [found[place] for place in range(key[1])] for key, found in positions.items()
    }
    statistic = sum(float(stats.chisquare(found).statistic) for found in totals.values())
    return statistic, sum(len(found) - 1 for found in totals.values())


def describe_subtasks(plan: Plan, counts: Counts) -> dict[str, dict[str, Any]]:
    """Return what each sub-task of the recipe has, and what its quota was."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(entry.name for entry in plan.entries):
        own = {split: number for (group, split), number in counts.by_split.items() if group == name}
        removed = {reason: number for (group, reason), number in counts.removed_by_group.items() if group == name}
        sources = (source for entry in plan.entries if entry.name == name for source in entry.sources)
        found[name] = {
            "rows": dict(sorted(own.items())),
            "quota": plan.quotas.get((name, TRAIN)),
            "sources": list(dict.fromkeys(sources)),
            "num_removed": dict(sorted(removed.items())),
        }
    return found


def describe_teacher(plan: Plan, counts: Counts) -> dict[str, Any]:
    """Return how many rows the teacher was asked for, how many of them stay, and why the others do not."""
    names = sorted({teacher for teacher, _, _, _ in counts.made})
    subtasks = {}
    for made, group, quota in list_teacher_quotas(plan):
        asked = {reason: n for (_, *key, reason), n in counts.made.items() if key == [made, group]}
        subtasks[f"{made}: {group}"] = {"quota": quota, **_describe_asked(asked)}
    total: Counter[str | None] = Counter()
    for (_, _, _, reason), number in counts.made.items():
        total[reason] += number
    return {"name": names[0] if names else None, **_describe_asked(total), "rows_by_subtask": subtasks}


def list_teacher_quotas(plan: Plan) -> list[tuple[str, str, int]]:
    """Return (kind of row, sub-task, quota) of all that a teacher is to make."""
    if plan.teacher is None:
        return []
    kinds = {WRITTEN: plan.teacher.written, REASONED: plan.teacher.reasoned, TRANSLATED: plan.teacher.translated}
    return [(made, group, quota) for made, own in kinds.items() for group, quota in own.items()]


def _describe_asked(found: Mapping[str | None, int]) -> dict[str, Any]:
    num_asked, num_kept = sum(found.values()), found.get(None, 0)
    removed = {reason: number for reason, number in found.items() if reason is not None}
    share = num_kept / num_asked if num_asked else None
    return {"num_asked": num_asked, "num_kept": num_kept, "kept_share": share, "num_removed": _sort(removed)}


def describe_absent(plan: Plan, counts: Counts) -> dict[str, str]:
    """Return what the recipe could not make, and what it does not ask for, each with the reason."""
    lines = {f"source {name}": reason for name, reason in plan.absent.items()}
    read = {source for source, _ in counts.material}
    lines |= {f"source {name}": "no row in it could be read" for name in plan.sources if name not in read}
    lines |= {_name_entry(entry): reason for entry in plan.entries if (reason := _explain_short(entry, plan, counts))}
    for made, group, quota in list_teacher_quotas(plan):
        found = {reason: n for (_, *key, reason), n in counts.made.items() if key == [made, group]}
        if not found:
            lines[f"teacher, {made}: {group}"] = "no row may be shown to it"
        elif found.get(None, 0) < quota:
            lines[f"teacher, {made}: {group}"] = f"the quota is {quota}, {found.get(None, 0)} of its rows stay"
    return lines | {f"sub-task {name}": "not in the recipe" for name in find_unplanned(plan.entries)}


def explain_absent(plan: Plan, counts: Counts) -> str:
    """Return why the first sub-tasks of a recipe have no row, for somebody who is left with nothing."""
    lines = describe_absent(plan, counts)
    return "; ".join(f"{entry.name}: {lines[_name_entry(entry)]}" for entry in plan.entries[:_MAX_EXPLAINED])


def _name_entry(entry: SubtaskSection) -> str:
    return f"sub-task {entry.name}" if entry.split is None else f"sub-task {entry.name} in {entry.split}"


def _explain_short(entry: SubtaskSection, plan: Plan, counts: Counts) -> str | None:
    """Return why an entry has fewer rows than its quota, if it has; a teacher's rows are none of its own."""
    splits = list_splits(entry)
    taught = sum(n for (_, _, group, reason), n in counts.made.items() if (group, reason) == (entry.name, None))
    found = {split: counts.by_split[entry.name, split] - (taught if split == TRAIN else 0) for split in splits}
    if not any(found.values()):
        return _explain_nothing(entry, counts)
    num_rows, quota = found[splits[0]], plan.limit_of(entry.name, splits[0])
    is_promised = entry.split is None or entry.quota is not None
    if quota is None or num_rows >= quota or not is_promised:
        return None
    share = counts.shares.get((entry.name, splits[0]), 1.0)
    if counts.removed_by_group[entry.name, PASSED_OVER]:
        return f"the quota is {quota}, {num_rows} rows stay: {PASSED_OVER}"
    if share < 1:
        return f"the quota is {quota}, {num_rows} rows stay of those that {share:.1%} of its material gives"
    return f"the quota is {quota}, its sources give {num_rows}"


def _explain_nothing(entry: SubtaskSection, counts: Counts) -> str:
    """Return why a sub-task has no row: its sources may hold what it is not made of."""
    kinds = sorted({kind for source, kind in counts.material if source in entry.sources})
    named = ", ".join(entry.sources)
    if kinds and not any(takes(entry, KINDS[kind]) for kind in kinds):
        wanted = " or ".join(kind.__name__ for kind in get_subtask(entry.name).takes)
        return f"it is made of {wanted}, and its sources ({named}) hold {', '.join(kinds)}"
    return f"its sources ({named}) give no row that stays"


def _describe_material(counts: Counts) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (source, kind), number in sorted(counts.material.items()):
        found.setdefault(source, {})[kind] = number
    return found


def _describe_lengths(found: Mapping[int, int]) -> dict[str, int]:
    names = [*(f"<= {end}" for end in LENGTHS), f"> {LENGTHS[-1]}"]
    return {name: found[place] for place, name in enumerate(names) if found.get(place)}


def _sort(counter: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))
