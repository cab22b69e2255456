"""Memory of a nightly run against the size of the catalogue: `python -m tests.bench.enrich_memory [PRODUCTS ...]`.

A synthetic catalogue with one review a product to be summarised, the simulated engine, a first night and a second one
with 1 % changed. Prints a line per night and writes `runs/bench/enrich_memory.json`. Memory is each process's own
(USS): what Ray's object store shares is bounded by Ray and counted apart.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from shutil import rmtree

import psutil

from tests.bench.memory import Watch

ROOT = Path(__file__).parents[2]
WORDS = ["steel", "wool", "red", "blue", "warm", "light", "large", "small"]
WORDS += ["cotton", "travel", "kitchen", "garden", "soft", "deep", "round", "flat"]
CATEGORIES = [f"category {number}" for number in range(20)]


def write_shop(folder, num_products, changed_share):
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


def measure(driver, *others):
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


def run_night(folder, name):
    command = [sys.executable, "-m", "jobs.enrich_catalog", "jobs/configs/enrich.yaml", f"name={name}"]
    command += [
        f"run_root={folder}",
        f"data.root={folder}",
        "catalog.path=products.jsonl",
        "reviews.path=reviews.jsonl",
    ]
    command += [
        "enrich.tasks=[summarization]",
        "infer.engine=simulated",
        "table.rows_per_file=2048",
        "infer.batch_size=1024",
    ]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    watch = Watch(process.pid, measure)
    try:
        assert process.wait() == 0
    finally:
        peaks = watch.stop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    stats = json.loads((folder / name / "enrichment.json").read_text())
    kept = ("num_rows", "num_inferred", "num_unchanged", "num_files", "num_commits", "phases")
    seconds = round(time.monotonic() - started, 1)
    return {"seconds": seconds, "driver_mib": peaks["driver"], "worker_mib": peaks["worker"]} | {
        name: stats[name] for name in kept
    }


def main(sizes):
    results = []
    for size in sizes:
        folder = ROOT / "runs" / "bench" / f"enrich_{size}"
        rmtree(folder, ignore_errors=True)
        for night, changed_share in (("first", 0), ("second", 0.01)):
            write_shop(folder, size, changed_share)
            result = {"products": size, "night": night, **run_night(folder, "night")}
            print(json.dumps(result), flush=True)
            results.append(result)
        rmtree(folder, ignore_errors=True)
    (ROOT / "runs" / "bench" / "enrich_memory.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10**4, 10**5, 10**6])
