"""Cleaning and near-duplicate removal against peers: `python -m tests.bench.data [--products N] [--repeats N]`.

Invented products and five reviews of each, with markup, broken characters, personal data, copies and near copies.
Cleaning against `datasets.map`, as users write it, text by text; cleaning and removal against datatrove, whose words
are split at blanks here, faster than by its own tokenizer. All sides do the same to a text, by the same functions.
Each measurement is a process of its own; sides take turns, with one worker and with two.

Writes `runs/bench/data.json`: `vs_datasets` and `vs_best_peer_dedup`, our rows per second of processor time divided by
theirs, medians, one worker each; processor time is of all processes, so what else runs here counts little.
`scaling_2_cores`, our rows per second with two workers divided by those with one; `peak_memory_mib`, of our largest
process (USS; what Ray's object store shares is bounded by Ray and counted apart), and `peak_growth`, that divided by
the peak with a tenth of the rows.
"""

import argparse
import json
import logging
import os
import platform
import random
import shutil
import time
from importlib import import_module
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.artifacts import write_json
from tests.bench.process import ROOT, measure
from tests.bench.usage import Usage

logger = logging.getLogger(__name__)

RESULTS = ROOT / "runs" / "bench" / "data.json"
SIDES = {
    "ours_clean": 1,
    "datasets_clean": 1,
    "ours": 1,
    "datatrove": 1,
    "ours_2": 2,
    "tenth": 1,
}
"""Side -> workers."""
MODULES = {"datasets_clean": "datasets_map", "datatrove": "datatrove_removal"}
REVIEWS_PER_PRODUCT = 5
FILE_ROWS = 25_000
NOUNS = ("pan", "table", "scarf", "hose", "desk", "lamp", "shirt", "cup", "belt", "knife", "jacket", "rug", "bottle")
WORDS = (
    *(
        "it",
        "the",
        "a",
        "and",
        "is",
        "very",
        "for",
        "my",
        "with",
        "was",
        "so",
        "but",
        "not",
        "I",
        "this",
        "of",
        "to",
        "in",
    ),
    *(
        "good",
        "warm",
        "soft",
        "light",
        "small",
        "large",
        "color",
        "price",
        "fits",
        "well",
        "arrived",
        "broken",
        "returned",
    ),
    *(
        "love",
        "gift",
        "wife",
        "kitchen",
        "garden",
        "travel",
        "handle",
        "zip",
        "seam",
        "fabric",
        "steel",
        "cotton",
        "oak",
    ),
)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.data", description=__doc__.partition(":")[0])
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with TemporaryDirectory() as folder:
        for num_products in (options.products, options.products // 10):
            write_rows(Path(folder, f"{num_products}"), num_products)
        runs = measure_sides(Path(folder), options)
    results = {**summarize(runs), "products": options.products, "runs": runs}
    results["machine"] = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    write_json(options.results, results)
    print(render(results))


def write_rows(folder, num_products):
    """Write `part-N.parquet` with `id`, `text` and `kind`; a twentieth are copies, a tenth near copies of others."""
    folder.mkdir()
    draw = random.Random(0)
    rows, earlier = [], []
    number = 0
    for product in range(num_products):
        for kind in ("product", *["review"] * REVIEWS_PER_PRODUCT):
            text = build_text(draw, kind, product)
            if earlier and draw.random() < 0.15:
                text = copy_text(draw, draw.choice(earlier))
            elif draw.random() < 0.01 or len(earlier) < 100:
                earlier.append(text)
            rows.append({"id": f"{kind[0]}{number:09d}", "text": text, "kind": kind})
            number += 1
        if len(rows) >= FILE_ROWS or product == num_products - 1:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"part-{number:09d}.parquet")
            rows = []


def build_text(draw, kind, product):
    """Return a description or review; a few have markup, broken characters or personal data."""
    text = " ".join(draw.choices(WORDS, k=draw.randint(15, 90)))
    if kind == "product":
        text = f"{draw.choice(NOUNS)} {product} {text}"
        return f"<p>{text}</p><ul><li>{product % 90} cm</li><li>fine</li></ul>" if draw.random() < 0.5 else text
    chance = draw.random()
    if chance < 0.05:
        return f"{text} gr\u00c3\u00b6\u00c3\u009fe \u00e2\u20ac\u201c gut"
    if chance < 0.07:
        return (
            f"{text} call me at 555-0{draw.randint(10, 99)}-{draw.randint(1000, 9999)} or mail x{product}@example.com"
        )
    if chance < 0.08:
        return "good " * draw.randint(30, 60)
    return f"{text} \u00e9t\u00e9" if chance < 0.15 else text


def copy_text(draw, text):
    """Return the text, or one with a word of many changed or added."""
    words = text.split()
    if draw.random() < 0.67 and len(words) > 45:
        words[draw.choice((0, -1))] = draw.choice(NOUNS)
    return " ".join(words)


def measure_sides(folder, options):
    """Return the runs of each side."""
    runs = {side: [] for side in SIDES}
    for _ in range(options.repeats):
        for side, workers in SIDES.items():
            rows = folder / f"{options.products // 10 if side == 'tenth' else options.products}"
            job = {"side": side, "rows": str(rows), "out": str(folder / "out"), "threads": 1, "workers": workers}
            found = measure("data", job)
            shutil.rmtree(folder / "out", ignore_errors=True)
            runs[side].append(found)
            logger.info("%-15s %s", side, json.dumps(found))
    return runs


def run(job):
    """Return `rows`, `kept`, `seconds`, `core_seconds` and `peak_mib` of one side."""
    module = import_module(f"tests.bench.data_peers.{MODULES.get(job['side'], 'ours')}")
    with module.prepared(job) as work, Usage() as usage:
        started = time.perf_counter()
        kept = work()
        seconds = time.perf_counter() - started
    rows = sum(pq.read_metadata(path).num_rows for path in Path(job["rows"]).glob("*.parquet"))
    return {"rows": rows, "kept": kept, "seconds": seconds, **usage.read()}


def summarize(runs):
    """Return the figures."""

    def rate(side, seconds="core_seconds"):
        return median(one["rows"] / one[seconds] for one in runs[side])

    peak = {side: max(one["peak_mib"] for one in runs[side]) for side in ("ours", "tenth")}
    return {
        "vs_datasets": rate("ours_clean") / rate("datasets_clean"),
        "vs_best_peer_dedup": rate("ours") / rate("datatrove"),
        "scaling_2_cores": rate("ours_2", "seconds") / rate("ours", "seconds"),
        "peak_memory_mib": peak["ours"],
        "peak_growth": peak["ours"] / peak["tenth"],
        "rows_per_core_second": {side: rate(side) for side in runs},
    }


def render(results):
    """Return the table that people read."""
    lines = ["| side | workers | rows/s of a core | rows/s | rows kept | peak, MiB |", "|---|---:|---:|---:|---:|---:|"]
    for side, runs in results["runs"].items():
        rates = [median(one["rows"] / one[name] for one in runs) for name in ("core_seconds", "seconds")]
        peak = max(one["peak_mib"] for one in runs)
        lines.append(
            f"| {side} | {SIDES[side]} | {rates[0]:,.0f} | {rates[1]:,.0f} | {runs[0]['kept']:,} | {peak:,.0f} |"
        )
    names = ("vs_datasets", "vs_best_peer_dedup", "scaling_2_cores", "peak_growth")
    return "\n".join([*lines, "", *(f"{name}: {results[name]:.2f}" for name in names)])


if __name__ == "__main__":
    main()
