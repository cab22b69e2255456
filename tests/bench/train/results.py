"""Raw measurements -> the figures of `runs/bench/train.json`, and the table that people read."""

import json
from pathlib import Path
from statistics import median

from tests.bench.busy import render_busy

HEADLINES = (
    *("vs_trl_shared_prefix", "vs_trl_plain", "mfu", "two_worker_overhead", "peak_memory_vs_trl"),
    *("busy_share", "quiet_share"),
)
LOSS_TOLERANCE = 0.02
"""Relative: both sides round to bf16, each in its own order."""


def find_median(runs: list[dict], name: str) -> float:
    """Return the median of one figure over repeated runs."""
    return median(run[name] for run in runs)


def compare(runs: dict[str, list[dict]]) -> dict[str, float]:
    """Return how many times the rows per second, and which share of the memory, of the better of TRL's settings.

    Padded and packed were tuned for speed. The faster counts for the speed, the smaller for the memory.
    """
    peers = [name for name in runs if name.startswith("trl")]
    speed = max(find_median(runs[name], "rows_per_second") for name in peers)
    memory = min(find_median(runs[name], "peak_mib") for name in peers)
    return {
        "speed": find_median(runs["ours"], "rows_per_second") / speed,
        "memory": find_median(runs["ours"], "peak_mib") / memory,
    }


def check_same_work(runs: dict[str, list[dict]]) -> None:
    """Stop if our first step, before anything is learned, has another loss than the peer's step of the same rows."""
    ours, peer = (runs[name][0]["losses"][0] for name in ("ours", "trl_padded"))
    if abs(ours - peer) > LOSS_TOLERANCE * peer:
        raise SystemExit(f"the sides do not compute the same: first loss {ours:.4f} here, {peer:.4f} with TRL")


def compute_overhead(runs: dict[str, list[dict]]) -> float:
    """Return what a second worker on the same cores costs: 0.1 means that one worker is 10 % faster."""
    one, two = (find_median(runs[name], "rows_per_second") for name in ("one_worker", "two_workers"))
    return one / two - 1


def merge(stored: dict, parts: dict[str, dict], machine: dict) -> dict:
    """Put newly measured parts over those of earlier runs and compute the headlines of all."""
    merged = {**stored.get("parts", {}), **{name: {**part, "machine": machine} for name, part in parts.items()}}
    headlines = dict.fromkeys(HEADLINES)
    for name in ("shared_prefix", "plain"):
        if name in merged:
            headlines[f"vs_trl_{name}"] = merged[name]["vs_trl"]["speed"]
    if "shared_prefix" in merged:
        headlines["peak_memory_vs_trl"] = merged["shared_prefix"]["vs_trl"]["memory"]
    if "mfu" in merged:
        headlines["mfu"] = merged["mfu"]["mfu"]
    if "two_workers" in merged:
        headlines["two_worker_overhead"] = merged["two_workers"]["overhead"]
    if "busy" in merged:
        headlines |= merged["busy"]["busy"]
    return {**headlines, "parts": merged}


def read_results(path: Path) -> dict:
    """Return what earlier runs left, or nothing."""
    return json.loads(path.read_text()) if path.exists() else {}


def render_table(results: dict) -> str:
    """Return the figures as a Markdown table per part."""
    lines = [f"{name:24s} {value:8.3f}" for name in HEADLINES if (value := results.get(name)) is not None]
    for name, part in results["parts"].items():
        lines += ["", f"{name}  ({part['machine']['num_threads']} threads, torch {part['machine']['torch']})"]
        if "busy" in part:
            lines += render_busy(part["runs"])
        else:
            lines += _render_shares(part["shares"]) if "shares" in part else _render_runs(part["runs"])
    return "\n".join(lines)


def _render_runs(runs):
    columns = ("rows_per_second", "answer_tokens_per_second", "peak_mib", "gflops")
    yield "| run | " + " | ".join(column.replace("_", " ") for column in columns) + " | repeats |"
    yield "|---|" + "---:|" * (len(columns) + 1)
    for name, repeats in runs.items():
        cells = [f"{find_median(repeats, key):.4g}" if key in repeats[0] else "" for key in columns]
        yield f"| {name} | " + " | ".join(cells) + f" | {len(repeats)} |"


def _render_shares(shares):
    yield from ("| part of a step | share of its time |", "|---|---:|")
    yield from (f"| {name} | {share:.1%} |" for name, share in shares.items())
