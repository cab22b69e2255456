"""What a run did, in numbers that add up: `enrichment.json`."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from eshop_ray.enrichment.questions import DELETED, EMPTY, QUARANTINED
from eshop_ray.enrichment.run import Run
from eshop_ray.secrets import hide_in_text

_PER_TASK = ("new", "changed", "unchanged", "deleted", "quarantined", "postponed", "inferred", "reused")
_TOKENS = ("input_tokens", "generated_tokens")
_NOT_KEPT = ("previous", "examples", "throughput", "canary")


def summarize(run: Run, previous: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the run's statistics; `num_rows` counts rows of the input, task by task.

    A readable product counts once for each task; an input row that cannot be read, once; a product's task that became
    a tombstone, once. Every one is new, changed, unchanged, deleted, quarantined or, where the budget was spent,
    postponed.

    Raises:
        AssertionError: if they do not add up: a defect of this program.
    """
    counts = run.counts + run.committer.counts
    ended = {name.partition("/")[0] for name in counts if name.endswith(f"/{DELETED}")} - {""}
    names = [*run.config.enrich.tasks, *sorted(ended.difference(run.config.enrich.tasks))]
    tasks: dict[str, dict[str, int]] = {
        task: {name: counts[f"{task}/{name}"] for name in (*_PER_TASK, *_TOKENS)} for task in names
    }
    return {
        **describe_run(run),
        **_add_up(counts, tasks, len(run.config.enrich.tasks)),
        "tasks": tasks,
        "quarantine": _by_reason(counts, "reason/", "new_reason/"),
        "quarantine_new": _by_reason(counts, "new_reason/"),
        "previous": {key: value for key, value in previous.items() if key not in _NOT_KEPT} if previous else None,
    }


def describe_run(run: Run) -> dict[str, Any]:
    """Return what the run was and how it went; of one that ended early, how it went so far."""
    committer = run.committer
    return {
        "run_id": run.run_id,
        "name": run.config.name,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "seconds": round(time.time() - run.started_at.timestamp(), 2),
        "engine": run.config.infer.engine,
        "num_engines": run.config.infer.concurrency,
        "model_digest": run.model.digest,
        "table_uri": hide_in_text(run.config.table_uri),
        "table_version": run.writer.version,
        "max_quarantined_share": run.config.enrich.max_quarantined_share,
        "stopped": run.stopped,
        "spending": run.spending,
        "gpu_hour_price": run.config.enrich.gpu_hour_price,
        "phases": run.phases,
        "canary": run.canary.describe() if run.canary else [],
        "throughput": committer.throughput,
        "histograms": {name: histogram.to_dict() for name, histogram in committer.histograms.items()},
        "examples": committer.examples,
        "num_commits": committer.num_commits,
        "num_files": committer.num_files,
    }


_READ = ("num_products", "num_unreadable", "num_reviews", "num_duplicates", "num_superseded", "num_held")


def _add_up(counts: Counter[str], tasks: Mapping[str, Mapping[str, int]], num_asked_tasks: int) -> dict[str, int]:
    """Return the sums over all tasks, which have to agree with what was read."""
    totals = {name: sum(task[name] for task in tasks.values()) for name in (*_PER_TASK, *_TOKENS)}
    num_quarantined = totals["quarantined"] + counts[f"/{QUARANTINED}"]
    num_rows = _num_input_rows(counts, num_asked_tasks) + totals["deleted"]
    outcomes = sum(totals[name] for name in ("new", "changed", "unchanged", "deleted", "postponed")) + num_quarantined
    assert outcomes == num_rows, f"{outcomes} outcomes of {num_rows} input rows: {dict(counts)}"
    return {
        "num_rows": num_rows,
        **{f"num_{name}": totals[name] for name in ("new", "changed", "unchanged", "deleted", "postponed", "inferred")},
        "num_duplicates_reused": totals["reused"],
        "num_quarantined": num_quarantined,
        "num_empty": sum(counts[f"{task}/{EMPTY}_rows"] for task in tasks),
        **{name: counts[name] for name in _READ},
        **{f"num_{name}": totals[name] for name in _TOKENS},
    }


def _num_input_rows(counts: Counter[str], num_tasks: int) -> int:
    num_readable = counts["num_products"] - counts["num_duplicates"] - counts["num_superseded"]
    return num_readable * num_tasks + counts["num_duplicates"] + counts["num_unreadable"]


def _by_reason(counts: Counter[str], *prefixes: str) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for prefix in prefixes:
        reasons.update({name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)})
    return dict(reasons.most_common())
