"""Raw measurements -> the figures of `runs/bench/infer.json`, and the table that people read."""

from statistics import median

from tests.bench.busy import render_busy

HEADLINES = (
    *("raw_unique", "raw_catalog", "ray_data_llm", "run_batch", "combined_gain", "equal_answers"),
    *("busy_share", "quiet_share"),
)


def summarize(runs: dict[str, list[dict]]) -> dict:
    """Return each side's rows per second, how many times that ours are, and the share of equal answers."""
    ours = median(run["rows_per_second"] for run in runs["ours"])
    answers = runs["ours"][0]["answers"]
    sides = {}
    for name, repeats in runs.items():
        theirs = repeats[0]["answers"]
        sides[name] = {
            "rows_per_second": [run["rows_per_second"] for run in repeats],
            "ratio": ours / median(run["rows_per_second"] for run in repeats),
            "equal_answers": sum(theirs.get(key) == text for key, text in answers.items()) / len(answers),
            "num_answers": len(theirs),
            "num_generated_tokens": repeats[0]["num_generated_tokens"],
            "num_input_tokens": repeats[0].get("num_input_tokens"),
            "num_cached_tokens": repeats[0].get("num_cached_tokens"),
            "seconds": [run["seconds"] for run in repeats],
            "start_seconds": [run.get("start_seconds") for run in repeats],
        }
    return {"sides": sides}


def merge(stored: dict, parts: dict[str, dict], machine: dict) -> dict:
    """Put newly measured parts over those of earlier runs and compute the headlines of all.

    `raw_unique` is against `LLM.chat` with our engine arguments, so that only the pipeline differs; `raw_catalog`
    against `LLM.chat` with vLLM's own. Of `ray_data_llm`, `run_batch` and `combined_gain` the worse workload counts.
    """
    merged = {**stored.get("parts", {}), **{name: {**part, "machine": machine} for name, part in parts.items()}}
    return {**{name: find_headline(name, merged) for name in HEADLINES}, "parts": merged}


def find_headline(name: str, parts: dict[str, dict]) -> float | None:
    """Return a headline, None where what it takes was not measured."""

    def collect(side: str, field: str = "ratio", workloads: tuple[str, ...] = ("unique", "catalog")) -> list[float]:
        found = [parts[workload]["sides"] for workload in workloads if workload in parts]
        return [sides[side][field] for sides in found if side in sides]

    def collect_busy(share: str) -> list[float]:
        return [parts["busy"]["busy"][share]] if "busy" in parts else []

    values = {
        "raw_unique": lambda: collect("raw", workloads=("unique",)),
        "raw_catalog": lambda: collect("raw_default", workloads=("catalog",)),
        "ray_data_llm": lambda: collect("ray_data_llm"),
        "run_batch": lambda: collect("run_batch"),
        "combined_gain": lambda: [eager / int8 for eager, int8 in zip(collect("eager"), collect("int8"), strict=True)],
        "equal_answers": lambda: collect("raw_default", "equal_answers", ("catalog",)),
        "busy_share": lambda: collect_busy("busy_share"),
        "quiet_share": lambda: collect_busy("quiet_share"),
    }[name]()
    return min(values, default=None)


def render_table(results: dict) -> str:
    """Return the figures as a Markdown table per part."""
    lines = [f"{name:16s} {value:8.3f}" for name in HEADLINES if (value := results.get(name)) is not None]
    for name, part in results["parts"].items():
        lines += ["", f"{name}, {part['num_rows']} rows", ""]
        if name == "busy":
            lines += render_busy(part["runs"])
            continue
        lines += ["| side | rows/s | ours is | equal answers | tokens |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for side, figures in part["sides"].items():
            cells = f"{median(figures['rows_per_second']):.2f} | {figures['ratio']:.2f} x"
            lines.append(f"| {side} | {cells} | {figures['equal_answers']:.1%} | {figures['num_generated_tokens']:,} |")
        if limit := part.get("limit"):
            compute = (
                f"{limit['gflop_per_row']:.1f} GFLOP a row, {limit['compute_share']:.0%} of {limit['gflops']:.0f}/s"
            )
            memory = (
                f"{limit['mbytes_per_row']:.0f} MB a row, {limit['memory_share']:.0%} of {limit['gbytes']:.1f} GB/s"
            )
            lines += ["", f"{compute}; {memory}"]
    return "\n".join(lines)
