"""Raw measurements -> the figures of `runs/bench/scale.json`, and the tables that people read."""

import os

import numpy as np

ROWS = 1e9
"""What the tables reckon for."""

CONTROL = ("stage", "data", "ray", "driver")
"""What CPU time is the control plane's; `engines` would be GPUs."""

SETTLE_SECONDS = 3.0
"""From the start to the first figure: an engine's first rows all end at the same time."""

LAST_SHARE = 0.85
"""Of the rows; with the last ones, engines run empty."""


def summarize(job: dict, result: dict, num_slices: int) -> dict:
    """Return the figures of one measurement; a slice is a part of the time in which all engines had work."""
    rates = slice_rates(result["calls"], result["started"], job["num_rows"], num_slices)
    cpu, seconds, num_rows = result["cpu_seconds"], result["seconds"], job["num_rows"]
    num_read, num_cached = (sum(calls[-1][place] for calls in result["calls"]) for place in (2, 3))
    return {
        "num_replicas": job["infer"]["concurrency"],
        "group_size": job["group_size"],
        "num_rows": num_rows,
        "num_answered": result["num_answered"],
        "seconds": seconds,
        "start_seconds": result["start_seconds"],
        "rows_per_second": num_rows / seconds,
        "steady_rows_per_second": float(np.median(rates)),
        "steady_slices": rates,
        "ideal_rows_per_second": job["infer"]["concurrency"] * job["ideal"],
        "prefix_hit_share": num_cached / max(1, num_read),
        "cpu_share": cpu["machine"] / seconds / (os.cpu_count() or 1),
        "cpu_ms_per_row": {kind: 1000 * spent / num_rows for kind, spent in cpu.items()},
        "control_plane_cores": sum(cpu[kind] for kind in CONTROL) / seconds,
    }


def slice_rates(calls: list, started: float, num_rows: int, num_slices: int) -> list[float]:
    """Return the rows per second of all engines in slices of the steady time."""
    times = np.unique([line[0] for engine in calls for line in engine])
    done = sum(np.interp(times, *np.array(engine)[:, :2].T) for engine in calls)
    end = np.interp(LAST_SHARE * num_rows, done, times)
    edges = np.linspace(min(started + SETTLE_SECONDS, (started + end) / 2), end, num_slices + 1)
    return (np.diff(np.interp(edges, times, done)) / np.diff(edges)).tolist()


def render(results: dict) -> str:
    """Return the figures as Markdown."""
    parts = [render_scaling(results["scaling"], results["timing"])] if results.get("scaling") else []
    parts += [render_dispatch(results["dispatch"])] if results.get("dispatch") else []
    parts += [render_control(results["control_plane"])] if results.get("control_plane") else []
    return "\n\n".join(parts)


def render_scaling(runs: list, timing: dict) -> str:
    """Return the table of weak scaling."""
    single = next((run["steady_rows_per_second"] for run in runs if run["num_replicas"] == 1), None)
    lines = [
        f"Simulated GPUs: {timing['prefill_tokens_per_second']:,} prompt tokens/s, steps of "
        f"{1000 * timing['step_seconds']:g} ms, {timing['max_num_seqs']} sequences: "
        f"{runs[0]['ideal_rows_per_second'] / runs[0]['num_replicas']:.1f} rows/s each, of 1,000 + 100 tokens.",
        "",
        "| replicas | rows/s (slices) | of computed | of one replica | whole run | CPU in use | control plane cores "
        "| 10^9 rows: days | GPU hours | stage processes |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        count, rate = run["num_replicas"], run["steady_rows_per_second"]
        of_one = f"{rate / count / single:.2f}" if single else "-"
        cells = (
            f"{count}",
            f"{rate:,.0f} ({min(run['steady_slices']):,.0f}-{max(run['steady_slices']):,.0f})",
            f"{rate / run['ideal_rows_per_second']:.2f}",
            of_one,
            f"{run['rows_per_second'] / run['ideal_rows_per_second']:.2f} in {run['seconds']:.0f} s",
            f"{run['cpu_share']:.0%}",
            f"{run['control_plane_cores']:.2f}",
            f"{ROWS / rate / 86400:,.1f}",
            f"{count * ROWS / rate / 3600:,.0f}",
            f"{count // run['group_size']}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render_dispatch(runs: dict) -> str:
    """Return the table of dispatch against none."""
    lines = ["| dispatch | rows/s | prompt tokens found in the prefix cache |", "|---|---:|---:|"]
    for name, run in runs.items():
        lines.append(f"| {name} | {run['steady_rows_per_second']:,.0f} | {run['prefix_hit_share']:.1%} |")
    return "\n".join(lines)


def render_control(run: dict) -> str:
    """Return what the control plane can do at most here."""
    rate = run["steady_rows_per_second"]
    spent = ", ".join(f"{kind} {run['cpu_ms_per_row'][kind]:.2f}" for kind in (*CONTROL, "engines"))
    used = sum(run["cpu_ms_per_row"][kind] for kind in CONTROL) / 1000
    return (
        f"Control plane with {run['num_replicas']} engines that answer at once: {rate:,.0f} rows/s at "
        f"{run['cpu_share']:.0%} of this machine's CPU; milliseconds of CPU per row: {spent}. "
        f"10^9 rows take {used * ROWS / 3600:,.0f} core hours of it; a core feeds {1 / used:,.0f} rows/s."
    )
