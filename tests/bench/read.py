"""Reading catalogues against Polars: `python -m tests.bench.read [--rows N] [--repeats N]`.

A catalogue of invented products is written as CSV, a tenth of its descriptions over several lines, and as JSON Lines.
Both sides read each from disk, in a fresh process of their own, in turns; Polars by `read_csv` and `read_ndjson`, with
its defaults. `vs_polars_csv` and `vs_polars_jsonl` are our rows per second divided by theirs, medians;
`peak_growth_...` our peak memory with all rows divided by that with a tenth of them. Writes `runs/bench/read.json`.
"""

import argparse
import csv
import json
import logging
import os
import platform
import random
import resource
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from eshop_ray.artifacts import write_json
from tests.bench.process import measure

logger = logging.getLogger(__name__)

RESULTS = Path(__file__).parents[2] / "runs" / "bench" / "read.json"
FORMATS = ("csv", "jsonl")
SIDES = ("ours", "polars")
COLUMNS = ("id", "name", "category", "brand", "price", "description")
WORDS = (
    *("iron", "pan", "oak", "table", "wool", "scarf", "garden", "hose", "desk", "lamp", "cotton", "shirt", "steel"),
    *("cup", "leather", "belt", "kitchen", "knife", "light", "dark", "soft", "for", "the", "with", "24", "cm", "set"),
)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.read", description=__doc__.partition(":")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with TemporaryDirectory() as folder:
        for num_rows in (options.rows, options.rows // 10):
            write_files(Path(folder), num_rows)
        runs = {name: measure_format(name, Path(folder), options) for name in FORMATS}
    results = {
        **{f"vs_polars_{name}": _rate(runs[name], "ours") / _rate(runs[name], "polars") for name in FORMATS},
        **{f"peak_growth_{name}": _peak(runs[name], "ours") / _peak(runs[name], "tenth") for name in FORMATS},
        "rows": options.rows,
        "machine": {"cores": os.cpu_count(), "processor": platform.processor()},
        "runs": runs,
    }
    write_json(options.results, results)
    print(render(results))


def write_files(folder, num_rows):
    """Write `products-N.csv` and `products-N.jsonl`."""
    draw = random.Random(0)
    with (folder / f"products-{num_rows}.csv").open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        with (folder / f"products-{num_rows}.jsonl").open("w") as lines:
            for number in range(num_rows):
                row = build_row(draw, number)
                writer.writerow(row)
                lines.write(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n")


def build_row(draw, number):
    """Return the columns of one product."""
    name, description = " ".join(draw.choices(WORDS, k=6)), ", ".join(draw.choices(WORDS, k=40))
    if number % 10 == 0:
        description = description.replace(", ", ",\n", 5).replace(" ", ' "', 1)
    category = f"Home > {draw.choice(WORDS)} > {draw.choice(WORDS)}"
    return f"p{number:07d}", name, category, draw.choice(WORDS), f"{draw.random() * 100:.2f}", description


def measure_format(name, folder, options):
    """Return the runs of both sides, and of ours with a tenth of the rows."""
    runs = {side: [] for side in (*SIDES, "tenth")}
    for _ in range(options.repeats):
        for side in runs:
            num_rows = options.rows // 10 if side == "tenth" else options.rows
            job = {"path": str(folder / f"products-{num_rows}.{name}"), "threads": os.cpu_count()}
            run_ = measure("read", {**job, "side": "polars" if side == "polars" else "ours"})
            assert run_["rows"] == num_rows
            runs[side].append(run_)
        rates = ", ".join(f"{side} {runs[side][-1]['rows_per_second']:,.0f}" for side in SIDES)
        logger.info("%-6s rows/s: %s", name, rates)
    return runs


def run(job):
    """Read one file and return `rows`, `rows_per_second` and `peak_mib`."""
    count = {"ours": count_ours, "polars": count_polars}[job["side"]](job["path"])
    started = time.perf_counter()
    num_rows = count()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": num_rows, "rows_per_second": num_rows / seconds, "peak_mib": peak / 1024}


def count_ours(path):
    # Imported here, before the clock starts, and in no process of the other side. A reader loads Polars late.
    import polars  # noqa: F401

    from eshop_ray.data.files import open_bytes
    from eshop_ray.data.formats.delimited import Block, read_blocks
    from eshop_ray.data.formats.json_text import read_json

    def count():
        with open_bytes(path) as stream:
            if path.endswith(".csv"):
                return sum(len(found.lines) if isinstance(found, Block) else 1 for found in read_blocks(stream, path))
            return sum(1 for _ in read_json(stream, path))

    return count


def count_polars(path):
    import polars

    return lambda: (polars.read_csv(path) if path.endswith(".csv") else polars.read_ndjson(path)).height


def render(results):
    """Return the table that people read."""
    lines = ["| format | ours, rows/s | Polars, rows/s | ours / Polars | peak, MiB | peak of a tenth |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name in FORMATS:
        runs = results["runs"][name]
        rates = " | ".join(f"{_rate(runs, side):,.0f}" for side in SIDES)
        peaks = " | ".join(f"{_peak(runs, side):,.0f}" for side in ("ours", "tenth"))
        lines.append(f"| {name} | {rates} | {results[f'vs_polars_{name}']:.2f} | {peaks} |")
    return "\n".join(lines)


def _rate(runs, side):
    return median(one["rows_per_second"] for one in runs[side])


def _peak(runs, side):
    return median(one["peak_mib"] for one in runs[side])


if __name__ == "__main__":
    main()
