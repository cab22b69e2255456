"""What a search has found, for people and programs."""

import os
import platform
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from eshop_ray.config import InferSection
from eshop_ray.inference.autotune.knobs import Setting, find_changes, read_settings
from eshop_ray.inference.autotune.search import SearchResult, TriedSettings
from eshop_ray.reporting.page import Table
from eshop_ray.reporting.terminal import print_table
from eshop_ray.reporting.words import NONE, count


def summarize(outcome: SearchResult, num_rows: int, model_digest: str) -> dict[str, Any]:
    """Return the content of `autotune.json`.

    Args:
        outcome: Of the search.
        num_rows: Different rows that were asked.
        model_digest: Of the model that answered them.
    """
    return {
        "verdict": word_verdict(outcome, num_rows),
        "machine": describe_machine(outcome.original),
        "model": model_digest,
        "num_rows": num_rows,
        "is_faster": outcome.is_faster,
        "gain": outcome.gain,
        "noise": outcome.noise,
        "original": {"settings": read_settings(outcome.original), "rows_per_second": list(outcome.original_rates)},
        "best": {"settings": read_settings(outcome.best), "rows_per_second": list(outcome.best_rates)},
        "is_cut_short": outcome.is_cut_short,
        "trials": [asdict(trial) for trial in outcome.trials],
    }


def print_trials(outcome: SearchResult) -> None:
    """Print what was tried."""
    rows = [(word_settings(trial.changes), *_word_rate(trial)) for trial in outcome.trials]
    header = ("settings", "rows/s", "versus the best so far", "")
    print_table(Table(header, rows, num_text=len(header)), "tried, by what differs from the config")


def word_verdict(outcome: SearchResult, num_rows: int) -> str:
    """Word what the search has come to."""
    where = f"{describe_machine(outcome.original)}, {count(num_rows, 'row')}"
    if outcome.is_cut_short:
        where += "; not everything was tried, raise autotune.max_minutes"
    noise = f"noise {100 * outcome.noise:.1f} %"
    changes = word_settings(find_changes(outcome.original, outcome.best))
    if outcome.trouble:
        return f"nothing gained: {changes} looked faster, but in the comparison {outcome.trouble} ({where})"
    now = statistics.median(outcome.original_rates)
    if outcome.original == outcome.best:
        return f"nothing gained: {now:.2f} rows/s as it is, {noise}, and nothing is faster than that ({where})"
    rates = f"{statistics.median(outcome.best_rates):.2f} against {now:.2f} rows/s"
    measured = f"{outcome.gain:.2f}x, {rates}, medians of {len(outcome.best_rates)} in turn, {noise}"
    verdict = "gained" if outcome.is_faster else "nothing gained beyond the noise"
    return f"{verdict}: {measured}, with {changes} ({where})"


def word_settings(settings: dict[str, Setting]) -> str:
    """Word settings as a command line takes them."""
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in settings.items())


def describe_machine(infer: InferSection) -> str:
    """Return the processor, or the GPUs, that were measured."""
    if infer.use_gpu:
        kinds = [name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:")]
        return f"GPU {', '.join(sorted(kinds)) or 'of unknown type'}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{count(os.cpu_count() or 1, 'core')} of {(names or [platform.machine()])[0]}"


def _word_rate(trial: TriedSettings) -> tuple[str, str, str]:
    if trial.rows_per_second is None or trial.versus is None:
        return NONE, NONE, f"left out: {trial.trouble}"
    return f"{trial.rows_per_second:.2f}", f"{trial.versus:.2f}", "better" if trial.is_better else ""
