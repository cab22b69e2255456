"""A night over many products: `python -m tests.bench.enrich [--sizes N,...] [--repeats N]`.

A catalogue of invented products with one review each, three tasks, and a simulated engine that answers at once: a first
night, nights without a change beside the peers, and a night with 1 % changed. The peers compare an unchanged night and
do nothing else: one DuckDB statement, and plain Polars as users would write it, two threads each. They and our nights
take turns.

Writes `runs/bench/enrich.json`: `duckdb_seconds`, `polars_seconds`; `vs_duckdb_unchanged`, our seconds from the first
byte read to the plan divided by DuckDB's; `products_per_second` of these; `first_night_rows_per_second`, from the first
byte read to the last commit, and `first_night_answers_per_second` of what follows the plan; `second_night_tokens`, a
share of the first night's; `rewritten_bytes_share`, what a 1 % night writes divided by the table's size; these of the
largest catalogue. `peak_memory_1e5` and so on: MiB, of the driver or the
largest worker, whichever is more, in unchanged nights. Memory is each process's own (USS): what Ray's object store
shares is bounded by Ray and counted apart. What `python -m tests.bench.extrapolate` reads besides: each night's
`staging`, bytes and files by kind of exchange, sampled while it runs; `log_bytes` that it added to both tables' logs;
`busy_core_seconds` of the whole machine; and of each size `inputs`, the bytes read, and `exchange`.
"""

import argparse
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from shutil import rmtree
from statistics import median

import psutil
import pyarrow as pa
from deltalake import DeltaTable

from eshop_ray.artifacts import write_json
from eshop_ray.enrichment.placing import place_by
from eshop_ray.exchange import Exchange, PartWriter
from eshop_ray.storage import Storage
from tests.bench.memory import Watch

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "runs" / "bench" / "enrich.json"
TASKS = "ner_tagging,classification,summarization"
WORDS = ["steel", "wool", "red", "blue", "warm", "light", "large", "small"]
WORDS += ["cotton", "travel", "kitchen", "garden", "soft", "deep", "round", "flat"]
CATEGORIES = [f"category {number}" for number in range(20)]
THREADS = 2
PHASES = ("scan", "plan", "infer", "maintain")
STAGING_SECONDS = 1.0
EXCHANGED_ROWS, EXCHANGED_BUCKETS, EXCHANGED_BLOCK = 100_000, 128, 8_000


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.enrich", description=__doc__.partition(":")[0])
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench" / "enrich")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    runs = {}
    for size in sorted(map(int, options.sizes.split(","))):
        folder = options.folder / f"{size}"
        rmtree(folder, ignore_errors=True)
        runs[size] = measure_size(folder, size, options.repeats)
        write_json(options.results, summarize(runs))
        rmtree(folder, ignore_errors=True)
    print(render(summarize(runs)))


def measure_size(folder, size, num_repeats):
    """Return the runs of all nights over a catalogue of some size, and of the peers."""
    write_shop(folder, size, changed_share=0)
    inputs = sum((folder / name).stat().st_size for name in ("products.jsonl", "reviews.jsonl"))
    exchange = measure_exchange(folder)
    runs = {"first": [run_night(folder)], "unchanged": [], "duckdb": [], "polars": []}
    logger.info("%d products, first night: %s", size, runs["first"][0])
    for name in ("duckdb", "polars"):
        run_peer(name, folder)  # the first run leaves last night's keys behind, and is not counted
    for _ in range(num_repeats):
        for name in ("duckdb", "polars"):
            runs[name].append(run_peer(name, folder))
        runs["unchanged"].append(run_night(folder))
        logger.info("%d products, unchanged: %s", size, {name: runs[name][-1] for name in runs})
    table_bytes = measure_table(folder)
    write_shop(folder, size, changed_share=0.01)
    since = DeltaTable(folder / "night" / "enriched").version()
    night = run_night(folder)
    runs["changed"] = [{**night, "written_bytes": measure_written(folder, since), "table_bytes": table_bytes}]
    logger.info("%d products, 1 %% changed: %s", size, runs["changed"][0])
    return {**runs, "inputs": inputs, "exchange": exchange}


def write_shop(folder, num_products, changed_share):
    """Write `products.jsonl` and `reviews.jsonl`; the changed products have another name."""
    folder.mkdir(parents=True, exist_ok=True)
    step = round(1 / changed_share) if changed_share else 0
    with (folder / "products.jsonl").open("w") as products, (folder / "reviews.jsonl").open("w") as reviews:
        for number in range(num_products):
            words = [WORDS[(number >> shift) % len(WORDS)] for shift in (0, 4, 8, 12, 16)]
            night = " second night" if step and number % step == 0 else ""
            name = f"{' '.join(words)} {number}{night}"
            category = CATEGORIES[number % len(CATEGORIES)]
            description = " ".join(words * 6)
            row = {"id": f"p{number}", "name": name, "category": category, "description": description}
            products.write(json.dumps(row) + "\n")
            review = {"parent_asin": f"p{number}", "text": " ".join(words * 5), "helpful_vote": number % 7}
            reviews.write(json.dumps(review) + "\n")


def run_night(folder):
    """Return the seconds, memory and counts of one night."""
    command = [sys.executable, "-m", "jobs.enrich_catalog", "jobs/configs/enrich.yaml", "name=night"]
    command += [f"run_root={folder}", f"data.root={folder}", "catalog.path=products.jsonl"]
    command += [f"catalog.labels={json.dumps(CATEGORIES)}"]
    command += ["reviews.path=reviews.jsonl", f"enrich.tasks=[{TASKS}]", "infer.engine=simulated"]
    command += ["table.rows_per_file=2048", "infer.batch_size=1024", "infer.concurrency=2"]
    started, busy, log_bytes = time.monotonic(), read_busy(), measure_log(folder)
    with (folder / "night.log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=log, stderr=log)
    watch = Watch(process.pid, measure_memory)
    staged = Watch(process.pid, lambda *_: measure_staging(folder), STAGING_SECONDS)
    try:
        assert process.wait() == 0, (folder / "night.log").read_text()[-3000:]
    finally:
        peaks, staging = watch.stop(), staged.stop_exact()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    stats = json.loads((folder / "night" / "enrichment.json").read_text())
    kept = ("num_rows", "num_inferred", "num_unchanged", "num_files", "num_commits", "phases")
    tokens = stats["num_input_tokens"] + stats["num_generated_tokens"]
    seconds = round(time.monotonic() - started, 1)
    figures = {"seconds": seconds, "tokens": tokens, "driver_mib": peaks["driver"], "worker_mib": peaks["worker"]}
    kinds = sorted({kind for kind, _ in staging})
    figures["staging"] = {kind: {"bytes": staging[kind, "bytes"], "files": staging[kind, "files"]} for kind in kinds}
    figures["log_bytes"] = measure_log(folder) - log_bytes
    figures["busy_core_seconds"] = round(read_busy() - busy, 1)
    return figures | {name: stats[name] for name in kept}


def read_busy():
    """Return the core-seconds that the machine has worked, whoever asked for it."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait


def measure_staging(folder):
    """Return the bytes and files of each kind of exchange; they grow until the night's end."""
    sizes = {}
    for file in (folder / "night" / "enrichment").glob(".staging-*/*/*"):
        try:
            size = file.stat().st_size
        except OSError:  # the night has ended
            continue
        kind = file.parent.name
        sizes[kind, "bytes"] = sizes.get((kind, "bytes"), 0) + size
        sizes[kind, "files"] = sizes.get((kind, "files"), 0) + 1
    return sizes


def measure_log(folder):
    """Return the bytes of both tables' logs."""
    return sum(file.stat().st_size for file in (folder / "night").glob("enriched*/_delta_log/*"))


def measure_exchange(folder):
    """Return the seconds of one core that products take into an exchange and out of it again, and their bytes."""
    with (folder / "products.jsonl").open() as lines:
        rows = pa.Table.from_pylist([json.loads(line) for line in itertools.islice(lines, EXCHANGED_ROWS)])
    storage = Storage(str(folder / "exchange"))
    storage.make_folder()
    exchange = Exchange(storage, "products", rows.schema, EXCHANGED_BUCKETS)
    place = place_by(("id",), EXCHANGED_BUCKETS)
    place(rows)  # opens the database
    started = time.process_time()
    writer = PartWriter(exchange, "rows", place)
    for start in range(0, len(rows), EXCHANGED_BLOCK):
        writer.add(rows.slice(start, EXCHANGED_BLOCK))
    exchange = exchange.with_parts(writer.close())
    written = time.process_time()
    assert sum(exchange.read(bucket).num_rows for bucket in range(EXCHANGED_BUCKETS)) == len(rows)
    figures = {"write_seconds": written - started, "read_seconds": time.process_time() - written}
    stored = sum(file.stat().st_size for file in (folder / "exchange").rglob("*.arrow"))
    rmtree(folder / "exchange")
    return {"rows": len(rows), "stored_bytes": stored, **figures}


def measure_memory(driver, *others):
    """Return the driver's memory, and that of the largest of Ray's workers."""
    return {"driver": read_memory(driver), "worker": max(map(read_memory, filter(is_worker, others)), default=0)}


def is_worker(process):
    try:
        return process.cmdline()[:1][0].startswith("ray::")
    except (psutil.Error, IndexError):  # it has just ended
        return False


def read_memory(process):
    try:
        return process.memory_full_info().uss
    except psutil.Error:
        return 0


def measure_table(folder):
    """Return the bytes of the enriched table's live files."""
    return sum(DeltaTable(folder / "night" / "enriched").get_add_actions(flatten=True)["size_bytes"].to_pylist())


def measure_written(folder, since):
    """Return the bytes of the data files that versions after one have added."""
    entries = sorted((folder / "night" / "enriched" / "_delta_log").glob("*.json"))
    added = [
        action["add"]["size"]
        for entry in entries
        if int(entry.stem) > since
        for action in map(json.loads, entry.read_text().splitlines())
        if "add" in action
    ]
    return sum(added)


def run_peer(name, folder):
    """Return the seconds that a peer needs, in a process of its own, imports left out."""
    command = [sys.executable, "-m", f"tests.bench.enrich_peers.{name}_night", *map(str, peer_files(folder, name))]
    environment = {**os.environ, "POLARS_MAX_THREADS": f"{THREADS}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    num_rows, num_changed, seconds = done.stdout.split()
    assert num_changed == "0", done.stdout
    assert int(num_rows) > 0
    return float(seconds)


def peer_files(folder, name):
    return folder / "products.jsonl", folder / "reviews.jsonl", folder / f"{name}.parquet"


def peak_memory(nights):
    return max(max(night["driver_mib"], night["worker_mib"]) for night in nights)


def plan_seconds(night):
    return night["phases"]["scan"] + night["phases"]["plan"]


def summarize(runs):
    """Return the keys that the module's text names, and all runs."""
    size = max(runs)
    largest = runs[size]
    unchanged = median(map(plan_seconds, largest["unchanged"]))
    first, changed = largest["first"][0], largest["changed"][0]
    peaks = {f"peak_memory_1e{len(str(size)) - 1}": peak_memory(nights["unchanged"]) for size, nights in runs.items()}
    return {
        "products": size,
        "duckdb_seconds": median(largest["duckdb"]),
        "polars_seconds": median(largest["polars"]),
        "unchanged_seconds": unchanged,
        "vs_duckdb_unchanged": unchanged / median(largest["duckdb"]),
        "products_per_second": size / unchanged,
        **peaks,
        "first_night_rows_per_second": first["num_rows"] / sum(first["phases"][name] for name in PHASES),
        "first_night_answers_per_second": first["num_inferred"] / first["phases"]["infer"],
        "second_night_tokens": changed["tokens"] / first["tokens"],
        "rewritten_bytes_share": changed["written_bytes"] / changed["table_bytes"],
        "machine": {"cores": os.cpu_count()},
        "runs": runs,
    }


def render(results):
    """Return the table that people read."""
    shown = [(name, value) for name, value in results.items() if isinstance(value, int | float)]
    return "\n".join(["| figure | |", "|---|---:|", *(f"| {name} | {value:,.3f} |" for name, value in shown)])


if __name__ == "__main__":
    main()
