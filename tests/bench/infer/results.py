"""Raw measurements -> the figures of `runs/bench/infer.json`, and the table that people read."""

from statistics import median

HEADLINES = ("raw_unique", "raw_catalog", "ray_data_llm", "run_batch", "combined_gain", "equal_answers")


def summarize(runs: dict[str, list[dict]]) -> dict:
    """Return each peer's medians, how many times its rows per second ours are, and the share of equal answers."""
    ours = median(run["rows_per_second"] for run in runs["ours"])
    answers = runs["ours"][0]["answers"]
    peers = {}
    for name, repeats in runs.items():
        theirs = repeats[0]["answers"]
        peers[name] = {
            "rows_per_second": [run["rows_per_second"] for run in repeats],
            "ratio": ours / median(run["rows_per_second"] for run in repeats),
            "equal_answers": sum(theirs.get(key) == text for key, text in answers.items()) / len(answers),
            "num_answers": len(theirs),
            "num_generated_tokens": repeats[0]["num_generated_tokens"],
        }
    return {"peers": peers}


def merge(stored: dict, parts: dict[str, dict], machine: dict) -> dict:
    """Put newly measured parts over those of earlier runs and compute the headlines of all."""
    merged = {**stored.get("parts", {}), **{name: {**part, "machine": machine} for name, part in parts.items()}}
    headlines = dict.fromkeys(HEADLINES)
    for name, part in merged.items():
        peers = part["peers"]
        if "raw" in peers:
            headlines[f"raw_{name}"] = peers["raw"]["ratio"]
        for peer in ("ray_data_llm", "run_batch"):
            if peer in peers:  # the worse of the workloads counts
                headlines[peer] = min(filter(None, (headlines[peer], peers[peer]["ratio"])))
    if "raw" in merged.get("catalog", {}).get("peers", {}):
        headlines["equal_answers"] = merged["catalog"]["peers"]["raw"]["equal_answers"]
    return {**headlines, "parts": merged}


def render_table(results: dict) -> str:
    """Return the figures as a Markdown table per part."""
    lines = [f"{name:16s} {value:8.3f}" for name in HEADLINES if (value := results[name]) is not None]
    for name, part in results["parts"].items():
        lines += ["", f"{name}, {part['num_rows']} rows", "| side | rows/s | ours is | equal answers | tokens |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for peer, figures in part["peers"].items():
            cells = f"{median(figures['rows_per_second']):.2f} | {figures['ratio']:.2f} x"
            lines.append(f"| {peer} | {cells} | {figures['equal_answers']:.1%} | {figures['num_generated_tokens']:,} |")
    return "\n".join(lines)
