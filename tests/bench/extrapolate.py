"""From measured nights to larger ones: `python -m tests.bench.extrapolate [--enrich FILE] [--scale FILE]`.

Reads what `make bench-enrich` and `make bench-scale` wrote, or, where a file is missing, what has been recorded. Says
how well one size predicts the other, and prints the tables of `docs/scale.md`. Nothing has been run at the sizes of
these tables: they are arithmetic, with the constants of the code.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from eshop_ray.config.nightly import TableSection
from eshop_ray.enrichment.commits import BUCKETS_PER_COMMIT
from eshop_ray.enrichment.nightly import PARTITIONS_PER_COMMIT
from eshop_ray.enrichment.pipeline import RESOLVED_ROWS
from eshop_ray.enrichment.planning import MAX_BEGINNINGS
from eshop_ray.enrichment.run import BUCKET_BYTES, MAX_BUCKETS
from eshop_ray.enrichment.table.writer import CHECKPOINT_INTERVAL
from eshop_ray.exchange import PART_BYTES

BENCH = Path(__file__).parents[2] / "runs" / "bench"
SIZES = (10**7, 10**8, 10**9)
NUM_TASKS = 3
ASKED_SHARES = {"first": 1.0, "unchanged": 0.0, "changed": 0.01}
"""Questions of a night, of all rows."""
TABLE = TableSection()

RECORDED_ENRICH = {
    "source": "docs/benchmarks.md, 2026-11-27, commit 7763ac4; bytes and files of 2026-11-27",
    "machine": {"cores": 2},
    "runs": {
        "100000": {
            "inputs": 47_943_478,
            "exchange": {"rows": 100_000, "write_seconds": 0.145, "read_seconds": 0.186},
            "first": [
                {
                    "phases": {"scan+plan": 21.2, "infer+maintain": 42.4},
                    "staging": {
                        "products": {"bytes": 5_087_024, "files": 2},
                        "reviews": {"bytes": 2_880_280, "files": 1},
                        "asked": {"bytes": 39_409_936, "files": 8},
                        "questions": {"bytes": 39_651_208, "files": 11},
                        "shards": {"bytes": 19_660_011, "files": 192},
                        "enriched": {"bytes": 38_693_024, "files": 192},
                    },
                    "num_commits": 12,
                    "num_files": 57,
                    "log_bytes": 132_538,
                }
            ],
            "unchanged": [{"phases": {"scan+plan": 6.5}}],
            "changed": [
                {
                    "staging": {
                        "products": {"bytes": 5_089_168, "files": 2},
                        "reviews": {"bytes": 2_880_280, "files": 1},
                        "asked": {"bytes": 1_344_584, "files": 8},
                        "questions": {"bytes": 409_888, "files": 1},
                        "shards": {"bytes": 211_499, "files": 6},
                        "enriched": {"bytes": 580_280, "files": 6},
                    },
                    "num_commits": 1,
                    "num_files": 24,
                    "log_bytes": 41_693,
                    "table_bytes": 16_566_079,
                }
            ],
        },
        "1000000": {
            "first": [{"phases": {"scan": 7, "plan": 149, "infer": 428}}],
            "unchanged": [{"phases": {"scan+plan": 27.2}}],
            "changed": [{"phases": {"scan": 8, "plan": 36, "infer": 21}, "table_bytes": 174e6}],
        },
    },
}
"""Seconds as they were recorded; a sum stands where no more was."""

RECORDED_SCALE = {
    "source": "docs/benchmarks.md, 2026-11-23, commit 5063e04",
    "machine": {"cores": 2},
    "scaling": [
        {
            "num_replicas": replicas,
            "ideal_rows_per_second": 46.8 * replicas,
            "steady_rows_per_second": steady,
            "rows_per_second": 800 * replicas / seconds,
            "control_plane_cores": cores,
        }
        for replicas, steady, seconds, cores in (
            *((1, 45, 19, 0.22), (8, 371, 22, 0.31), (16, 745, 23, 0.39)),
            *((32, 1486, 27, 0.84), (64, 2215, 39, 1.64)),
        )
    ],
}

GPU_RATES = {46.8: "assumed by `make bench-scale`", 100.0: "the example of the benchmarks' page"}
"""Answers per second of one GPU, and where each comes from: none was measured."""

TABLE_PASSES = {"first": 3, "unchanged": 1, "changed": 4}
"""Times that a night reads or writes the bytes of the table: compares, finds answers, merges, puts together."""

PHASES = {"read": ("scan",), "compare": ("plan",), "answer and commit": ("infer", "maintain")}
SUMS = {"read and compare": ("scan", "plan"), "answer and commit": ("infer", "maintain")}

RECORDED_BYTES = {
    "input": 479.4,
    "table": 174.0,
    "products": 50.5,
    "reviews": 28.7,
    "asked": 128.6,
    "questions": 131.5,
    "shards": 65.5,
    "enriched": 128.0,
    "keys": 80.0,
}
"""Bytes of a product in the input, in the table and in the exchange, and of a question in the other exchanges, frames
left out: a night over 100,000 products, 2026-11-27. `keys`, of a row of the table, is reckoned."""

FRAME_BYTES = {"scan": 1_520, "asked": 3_232, "questions": 2_488, "enriched": 3_664, "keys": 1_672}
"""What every range of an exchange takes before its first row; `scan`: the mean of products and reviews."""
LOG_BYTES = {"commit": 350, "add": 335, "remove": 250, "checkpoint": 15_000, "entry": 97}
"""Of the table's log: an entry without files, each file in it, a checkpoint without files, each file in that."""
READING_SECONDS = 14.6e-6
"""What each file of the table takes the driver whenever it reads the log, twice a commit."""

PYTHON_BYTES = {"asked": 1_480, "question": 1_650, "key": 1_010, "product": 4_000, "offset": 22, "shard": 700}
"""What one of these takes as a Python value. Weighed with 400 characters of text, but `product` and `shard`, reckoned;
of `key`, its place in the dictionary of known keys too."""
OFFSET_BYTES = 8
"""Of an array: a place in a part."""
COLUMN_BYTES = {"asked": 400, "key": 190}
"""What one of these takes by columns."""
COLUMN_FACTOR = 6
"""Times that a task holds its bucket's input, while it compares; reckoned."""
CANARY_SHARDS = 128
"""At most, as `enrich.canary_rows` is by default."""
FILES_PER_FLUSH = 3
"""Files of a flush that have to be put together with others of their bucket."""
MAX_LIVE = 8
"""Files of a bucket and task while a first night is under way; see `merge.MAX_FILES`."""

GIB = 2**30
LIMITS = {
    "task": 2 * GIB,
    "driver": 8 * GIB,
    "requests": 10**7,
    "range": FRAME_BYTES["scan"],
    "shards": 10**5,
    "commits": 10**4,
}
LIMITS |= {"files": 10**5, "seconds": 1800, "log": 10**10}
"""What is too much, of which a table says that it bites; chosen, not measured."""


@dataclass(frozen=True)
class Fit:
    """Seconds of a phase: `fixed` and, for each product, `each`."""

    fixed: float
    each: float

    def predict(self, size):
        return self.fixed + self.each * size


def fit(points):
    """Return the line through sizes and seconds, of one size the one through nothing; no night begins before zero."""
    sizes = list(points)
    if len(sizes) == 1:
        return Fit(0.0, points[sizes[0]] / sizes[0])
    middle, mean = sum(sizes) / len(sizes), sum(points.values()) / len(sizes)
    each = sum((size - middle) * (points[size] - mean) for size in sizes) / sum((size - middle) ** 2 for size in sizes)
    fixed = mean - each * middle
    if fixed >= 0:
        return Fit(fixed, each)
    return Fit(0.0, sum(size * points[size] for size in sizes) / sum(size**2 for size in sizes))


def check(points):
    """Return size -> (predicted by the other sizes, measured), of every size for which there are others."""
    found = {}
    for size in points:
        others = {other: seconds for other, seconds in points.items() if other != size}
        if others:
            found[size] = fit(others).predict(size), points[size]
    return found


def read_points(enrich, night, names):
    """Return size -> seconds that some phases took, the median of the runs; of sizes that tell them."""
    points = {}
    for size, runs in enrich["runs"].items():
        found = [_add_phases(one.get("phases", {}), names) for one in runs.get(night, ())]
        found = [seconds for seconds in found if seconds]
        if found:
            points[int(size)] = median(found)
    return dict(sorted(points.items()))


def _add_phases(phases, names):
    whole = "+".join(names)
    if whole in phases:
        return phases[whole]
    return sum(phases.get(name, 0) for name in names) if names[0] in phases else None


def find_bytes(enrich):
    """Return the bytes of a product or question, of the largest size that tells them, else as they were recorded."""
    sizes = dict(RECORDED_BYTES)
    for size, runs in sorted(((int(size), runs) for size, runs in enrich["runs"].items()), key=lambda one: one[0]):
        if "inputs" in runs:
            sizes["input"] = runs["inputs"] / size
            buckets = count_buckets(runs["inputs"])
            for kind, stored in runs["first"][0]["staging"].items():
                frames = 0 if kind == "shards" else stored["files"] * _ranges_of(kind, buckets) * _frame_of(kind)
                rows = size if kind in ("products", "reviews") else size * NUM_TASKS
                sizes[kind] = (stored["bytes"] - frames) / rows
        for night in runs.get("changed", ()):
            sizes["table"] = night["table_bytes"] / size
    return sizes


def _ranges_of(kind, buckets):
    """Return the ranges of one part that hold anything, as far as this is known: answers go to few buckets."""
    return {"asked": min(4 * buckets, MAX_BUCKETS), "enriched": 2}.get(kind, buckets)


def _frame_of(kind):
    return FRAME_BYTES.get(kind, FRAME_BYTES["scan"])


def count_buckets(num_bytes):
    """Return the buckets that the code makes of an input."""
    return int(min(1 << math.ceil(math.log2(max(num_bytes / BUCKET_BYTES, 1))), MAX_BUCKETS))


@dataclass(frozen=True)
class Counts:
    """What a night over `size` products is made of; see `count`."""

    size: int
    night: str
    buckets: int
    bucket_bytes: float
    questions: int
    scan_parts: int
    asked_parts: int
    question_parts: int
    key_parts: int
    requests: int
    """Of ranges of the exchanges."""
    keys_per_task: int
    """Rows of the table among which one task looks for known answers."""
    shards: int
    open_shards: int
    """Answered and not all committed, at one time: those of one flush, and as many that end in buckets still open."""
    commits: int
    compacted: int
    """Files that were put together after the answers."""
    compactions: int
    """Commits after the answers, each of which puts the files of some buckets and tasks together."""
    added_files: int
    live_files: int
    log_bytes: float
    commit_seconds: float
    frame_bytes: float
    staging_bytes: float
    table_bytes: float
    network_bytes: float


def count(size, night, sizes, table=TABLE):
    """Return what the code makes of a night, by its own constants.

    Args:
        size: Products, each with one review and a row for each of `NUM_TASKS` tasks.
        night: A name of `ASKED_SHARES`.
        sizes: Bytes per product, as `find_bytes` returns them.
        table: `rows_per_file` and `commit_files`.
    """
    read = size * sizes["input"]
    buckets = count_buckets(read)
    pairs, key_buckets = buckets * NUM_TASKS, min(4 * buckets, MAX_BUCKETS)
    questions = round(size * NUM_TASKS * ASKED_SHARES[night])
    scan_parts = math.ceil(read / PART_BYTES)
    resolve_tasks = min(key_buckets, math.ceil(questions / RESOLVED_ROWS))
    asked_parts = max(buckets, math.ceil(questions * COLUMN_BYTES["asked"] / PART_BYTES)) if questions else 0
    keys = size * NUM_TASKS if night != "first" and questions > MAX_BEGINNINGS else 0
    key_parts = math.ceil(keys * COLUMN_BYTES["key"] / PART_BYTES)
    question_parts = max(resolve_tasks, math.ceil(questions * COLUMN_BYTES["asked"] / PART_BYTES)) if questions else 0
    cut_tasks = min(buckets, math.ceil(questions / RESOLVED_ROWS))
    each = questions / max(cut_tasks * NUM_TASKS, 1)
    shards = NUM_TASKS * cut_tasks * math.ceil(each / table.rows_per_file)
    shards += NUM_TASKS * min(cut_tasks, CANARY_SHARDS // NUM_TASKS)
    flushes = math.ceil(shards / table.commit_files)
    answer_ranges = round(shards * (1 + table.rows_per_file / max(questions / pairs, 1))) if questions else 0
    answer_ranges = min(answer_ranges, shards * buckets)
    added = min(questions, pairs + (FILES_PER_FLUSH * flushes if flushes > 1 else 0))
    compacted = pairs if night == "first" and added > pairs else 0
    compactions = math.ceil(compacted / PARTITIONS_PER_COMMIT)
    commits = max(flushes, math.ceil(buckets / BUCKETS_PER_COMMIT)) if questions else 0
    content = size * (sizes["products"] + sizes["reviews"]) + keys * sizes["keys"]
    content += questions * sum(sizes[kind] for kind in ("asked", "questions", "shards", "enriched"))
    frames = {
        "scan": scan_parts * buckets,
        "asked": min(asked_parts * key_buckets, questions),
        "keys": min(key_parts * key_buckets, keys),
        "questions": min(question_parts * buckets, questions),
        "enriched": answer_ranges,
    }
    staging = content + sum(FRAME_BYTES[kind] * number for kind, number in frames.items())
    table_bytes = size * sizes["table"]
    return Counts(
        size=size,
        night=night,
        buckets=buckets,
        bucket_bytes=read / buckets,
        questions=questions,
        scan_parts=scan_parts,
        asked_parts=asked_parts,
        question_parts=question_parts,
        key_parts=key_parts,
        requests=scan_parts * buckets
        + (asked_parts + key_parts) * resolve_tasks
        + question_parts * cut_tasks
        + answer_ranges,
        keys_per_task=math.ceil(keys / resolve_tasks) if resolve_tasks else 0,
        shards=shards,
        open_shards=min(shards, 2 * table.commit_files),
        commits=commits,
        compacted=compacted,
        compactions=compactions,
        added_files=added + compacted,
        live_files=pairs,
        log_bytes=_weigh_log(night, commits, compacted, added, pairs),
        commit_seconds=_time_commits(night, commits, compactions, added, pairs),
        frame_bytes=staging - content,
        staging_bytes=staging,
        table_bytes=table_bytes,
        network_bytes=read + 2 * staging + TABLE_PASSES[night] * table_bytes,
    )


def _weigh_log(night, commits, compacted, added, pairs):
    """Return the bytes that a night adds to the enriched table's log; files that are gone stay in checkpoints."""
    compactions = math.ceil(compacted / PARTITIONS_PER_COMMIT)
    removed = {"first": added if compacted else 0, "unchanged": 0, "changed": added}[night]
    entries = (commits + compactions + 1) * LOG_BYTES["commit"]
    entries += (added + compacted) * LOG_BYTES["add"] + removed * LOG_BYTES["remove"]
    known = added / 2 if night == "first" else pairs + added / 2
    checkpoints = commits / CHECKPOINT_INTERVAL * (LOG_BYTES["checkpoint"] + known * LOG_BYTES["entry"])
    later = LOG_BYTES["checkpoint"] + (added + pairs) * LOG_BYTES["entry"]
    return entries + checkpoints + compactions / CHECKPOINT_INTERVAL * later


def _time_commits(night, commits, compactions, added, pairs):
    """Return the seconds in which the driver reads what the log says of the table's files, one commit after another."""
    live = min(added, MAX_LIVE * pairs)
    during = live / 2 if night == "first" else pairs
    return 2 * READING_SECONDS * (commits * during + compactions * (live + pairs) / 2)


def weigh_driver(counts):
    """Return the bytes of what the driver holds, by name."""
    width, key_width = counts.buckets + 1, min(4 * counts.buckets, MAX_BUCKETS) + 1
    return {
        "parts of the catalogue": counts.scan_parts * width * PYTHON_BYTES["offset"],
        "parts of questions": (counts.asked_parts * key_width + counts.question_parts * width) * PYTHON_BYTES["offset"],
        "parts of keys": counts.key_parts * key_width * PYTHON_BYTES["offset"],
        "parts of answers": counts.open_shards * width * OFFSET_BYTES,
        "shards": counts.shards * PYTHON_BYTES["shard"],
    }


def weigh_tasks(counts):
    """Return the bytes of the largest task of each kind, by name."""
    key_buckets = min(4 * counts.buckets, MAX_BUCKETS)
    least = min(RESOLVED_ROWS, counts.questions)
    decided = counts.size / counts.buckets * min(1, NUM_TASKS * ASKED_SHARES[counts.night])
    return {
        "compare": counts.bucket_bytes * COLUMN_FACTOR + decided * PYTHON_BYTES["product"],
        "resolve": max(least, counts.questions / key_buckets) * PYTHON_BYTES["asked"] * 2
        + counts.keys_per_task * PYTHON_BYTES["key"],
        "lists of parts that it is given": 8
        * max(
            counts.scan_parts * (counts.buckets + 1),
            (counts.asked_parts + counts.key_parts) * (key_buckets + 1),
            counts.question_parts * (counts.buckets + 1),
        ),
        "cut": max(least, counts.questions / counts.buckets) * PYTHON_BYTES["question"],
    }


def check_scale(scale):
    """Return replicas -> (answers/s that the model says, measured): each adds its own until the cores are used up."""
    alone = min(scale["scaling"], key=lambda run: run["num_replicas"])
    cores = scale["machine"]["cores"]
    most = cores / core_seconds_per_answer(scale, least=8)
    each = alone["ideal_rows_per_second"] / alone["num_replicas"]
    return {
        run["num_replicas"]: (min(run["num_replicas"] * each, most), run["steady_rows_per_second"])
        for run in scale["scaling"]
    }


def core_seconds_per_answer(scale, least=8):
    """Return the control plane's core-seconds per answer, the median of the runs with many replicas."""
    runs = [run for run in scale["scaling"] if run["num_replicas"] >= least] or scale["scaling"]
    return median(run["control_plane_cores"] / run["rows_per_second"] for run in runs)


def check_counts(enrich, sizes):
    """Return (night, products, what, predicted, counted) of all that the runs have counted."""
    found = []
    table = TableSection(rows_per_file=2048)  # as tests.bench.enrich has it
    for size, runs in sorted((int(size), runs) for size, runs in enrich["runs"].items()):
        for name in ("first", "changed"):
            for night in (one for one in runs.get(name, ()) if "staging" in one):
                said = count(size, name, sizes, table)
                stored = sum(kind["bytes"] for kind in night["staging"].values())
                pairs = {
                    "shards": (said.shards, night["staging"]["shards"]["files"]),
                    "commits": (said.commits, night["num_commits"]),
                    "files added": (
                        said.added_files - (said.live_files if said.compactions else 0),
                        night["num_files"],
                    ),
                    "bytes of the staging": (said.staging_bytes, stored),
                    "bytes of the log": (said.log_bytes, night["log_bytes"]),
                }
                found += [(name, size, what, *both) for what, both in pairs.items()]
    return found


def reckon_seconds(enrich, night, size):
    """Return phase -> (fixed seconds, core-seconds) of a night; a phase that no run tells is missing."""
    cores = enrich["machine"]["cores"]
    found = {}
    for phase, names in SUMS.items():
        points = read_points(enrich, night, names)
        if points:
            line = fit(points)
            found[phase] = line.fixed, line.each * size * cores
    return found


# --- tables ---------------------------------------------------------------------------------------------------------


def render_table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def render_constants(enrich):
    cores = enrich["machine"]["cores"]
    rows = []
    for night in ASKED_SHARES:
        for phase, names in {**PHASES, **SUMS}.items():
            points = read_points(enrich, night, names)
            if points:
                line = fit(points)
                known = ", ".join(f"{size:,}: {seconds:,.1f} s" for size, seconds in points.items())
                rows.append([f"{night}: {phase}", known, f"{line.fixed:.1f}", f"{line.each * cores * 1e6:,.0f}"])
    for size, runs in enrich["runs"].items():
        for way in ("write", "read") if "exchange" in runs else ():
            spent = runs["exchange"][f"{way}_seconds"]
            each = 1e6 * spent / runs["exchange"]["rows"]
            rows.append([f"exchange: {way} products", f"{int(size):,}: {spent:.2f} s of one core", "", f"{each:.1f}"])
    return render_table(["night: phase", "measured", "fixed, s", "core-seconds per 10^6 products"], rows)


def render_bytes(sizes):
    of_questions = ("asked", "questions", "shards", "enriched")
    rows = [[name, "question" if name in of_questions else "product", f"{size:,.0f}"] for name, size in sizes.items()]
    return render_table(["bytes", "of a", ""], rows)


def render_check(enrich):
    rows = []
    for night in ASKED_SHARES:
        for phase, names in SUMS.items():
            for size, (said, seen) in check(read_points(enrich, night, names)).items():
                cells = [f"{night}: {phase}", f"{size:,}", f"{said:,.1f}", f"{seen:,.1f}", f"{said / seen - 1:+.0%}"]
                rows.append(cells)
    return render_table(["night: phase", "products", "predicted, s", "measured, s", "off by"], rows)


def render_counts_check(enrich, sizes):
    rows = [
        [f"{name}: {what}", f"{size:,}", f"{said:,.0f}", f"{seen:,.0f}", f"{said / seen - 1:+.0%}"]
        for name, size, what, said, seen in check_counts(enrich, sizes)
    ]
    return render_table(["night: what", "products", "predicted", "counted", "off by"], rows)


def render_scale_check(scale):
    rows = [
        [f"{replicas}", f"{said:,.0f}", f"{seen:,.0f}", f"{said / seen - 1:+.0%}"]
        for replicas, (said, seen) in check_scale(scale).items()
    ]
    return render_table(["GPUs, simulated", "predicted, answers/s", "measured", "off by"], rows)


def render_hours(enrich, sizes, table, cores_per_node, hours):
    rows = []
    for night in ASKED_SHARES:
        for size in SIZES:
            found = reckon_seconds(enrich, night, size).values()
            fixed, spent = sum(one[0] for one in found), sum(one[1] for one in found)
            alone = (fixed + spent / cores_per_node) / 3600
            nodes = math.ceil(spent / cores_per_node / max(hours * 3600 - fixed, 1))
            driver = count(size, night, sizes, table).commit_seconds / 3600
            rows.append(
                [f"{night}, {show(size)}", f"{spent / 3600:,.1f}", f"{alone:,.2f}", f"{nodes}", f"{driver:,.2f}"]
            )
    head = ["night, products", "core hours", f"hours on {cores_per_node} cores"]
    return render_table(
        [*head, f"nodes of {cores_per_node} cores for {hours:g} hours", "driver's hours over the log"], rows
    )


def render_gpus(scale, rates, hours):
    rows = []
    spent = core_seconds_per_answer(scale)
    for night in ("first", "changed"):
        for size in SIZES:
            questions = size * NUM_TASKS * ASKED_SHARES[night]
            cells = [f"{night}, {show(size)}", f"{questions:,.0f}"]
            for rate in rates:
                gpu_hours = questions / rate / 3600
                cells += [f"{gpu_hours:,.1f}", f"{math.ceil(gpu_hours / hours):,}"]
            rows.append([*cells, f"{questions * spent / 3600:,.1f}"])
    head = ["night, products", "questions"]
    for rate in rates:
        head += [f"GPU hours at {rate:g}/s", f"GPUs for {hours:g} hours"]
    return render_table([*head, "core hours to feed them"], rows)


def render_counts(sizes, table=TABLE):
    rows = []
    for night in ASKED_SHARES:
        for size in SIZES:
            one = count(size, night, sizes, table)
            rows.append(
                [
                    f"{night}, {show(size)}",
                    f"{one.buckets:,}",
                    f"{one.live_files:,}",
                    show_bytes(one.staging_bytes),
                    show_bytes(one.table_bytes),
                    show_bytes(one.network_bytes),
                    f"{one.commits + one.compactions:,}",
                    f"{one.added_files:,}",
                    show_bytes(one.log_bytes),
                ]
            )
    head = ["night, products", "buckets", "data files", "staging", "table", "over the network"]
    return render_table([*head, "commits", "files added", "log"], rows)


def list_limits(sizes, night, limits, table=TABLE):
    """Return name -> for each of `SIZES` the figure as text, and whether it bites."""
    found = {}
    for size in SIZES:
        one = count(size, night, sizes, table)
        tasks, driver = weigh_tasks(one), weigh_driver(one)
        each = one.size * (sizes["products"] + sizes["reviews"]) / (one.scan_parts * one.buckets)
        figures = {
            "input of one bucket": (show_bytes(one.bucket_bytes), one.bucket_bytes > 2 * BUCKET_BYTES),
            **{f"memory of one task, {name}": _weighed(held, limits["task"]) for name, held in tasks.items()},
            "range requests": (show(one.requests), one.requests > limits["requests"]),
            "rows in one range of the catalogue, bytes": (show_bytes(each), each < limits["range"]),
            "frames of ranges, of the staging": (
                f"{one.frame_bytes / one.staging_bytes:.0%}",
                one.frame_bytes > one.staging_bytes / 4,
            ),
            "shards, each a file and an object of Ray's": (show(one.shards), one.shards > limits["shards"]),
            "commits, with those that put files together": (
                show(one.commits + one.compactions),
                one.commits + one.compactions > limits["commits"],
            ),
            "driver's hours over the log": (f"{one.commit_seconds / 3600:.2f}", one.commit_seconds > limits["seconds"]),
            "log": (show_bytes(one.log_bytes), one.log_bytes > limits["log"]),
            **{f"driver's memory, {name}": _weighed(held, limits["driver"]) for name, held in driver.items()},
            "entries of the table's snapshot": (show(one.live_files), one.live_files > limits["files"]),
        }
        for name, figure in figures.items():
            found.setdefault(name, []).append(figure)
    return found


def _weighed(held, limit):
    return show_bytes(held), held > limit


def render_limits(sizes, night, table=TABLE):
    rows = [
        [name, *(f"**{text}**" if bites else text for text, bites in figures)]
        for name, figures in list_limits(sizes, night, LIMITS, table).items()
        if {text for text, _ in figures} - {"0", "0 B", "0.00"}
    ]
    return render_table([f"{night} night", *map(show, SIZES)], rows)


def show(number):
    """Return a count as people say it."""
    if number < 10_000:
        return f"{number:,.0f}"
    for power, name in ((9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:,.3g} {name}"
    return f"{number}"


def show_bytes(number):
    """Return bytes with a unit of ten's powers."""
    for power, name in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if number >= 10**power:
            return f"{number / 10**power:,.3g} {name}"
    return f"{number:,.0f} B"


def main(arguments=None):
    options = parse(arguments)
    enrich, scale = read_or(options.enrich, RECORDED_ENRICH), read_or(options.scale, RECORDED_SCALE)
    sizes = find_bytes(enrich)
    table = TableSection(rows_per_file=options.rows_per_file, commit_files=options.commit_files)
    parts = {
        "Measured": render_constants(enrich),
        "Bytes of a product": render_bytes(sizes),
        "The check: nights": render_check(enrich),
        "The check: bytes and files": render_counts_check(enrich, sizes),
        "The check: GPUs": render_scale_check(scale),
        "Cores": render_hours(enrich, sizes, table, options.cores_per_node, options.hours),
        "GPUs": render_gpus(scale, options.gpu_rows_per_second or list(GPU_RATES), options.hours),
        "Bytes, files and commits": render_counts(sizes, table),
        **{f"Limits, {night}": render_limits(sizes, night, table) for night in ASKED_SHARES},
    }
    print(f"Nights: {enrich.get('source', options.enrich)}. GPUs: {scale.get('source', options.scale)}.")
    for title, text in parts.items():
        print(f"\n### {title}\n\n{text}")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.extrapolate", description=__doc__.partition(":")[0])
    parser.add_argument("--enrich", type=Path, default=BENCH / "enrich.json")
    parser.add_argument("--scale", type=Path, default=BENCH / "scale.json")
    parser.add_argument("--gpu-rows-per-second", type=float, action="append", help="of one GPU; may be given again")
    parser.add_argument("--cores-per-node", type=int, default=32)
    parser.add_argument("--rows-per-file", type=int, default=TABLE.rows_per_file, help="table.rows_per_file")
    parser.add_argument("--commit-files", type=int, default=TABLE.commit_files, help="table.commit_files")
    parser.add_argument("--hours", type=float, default=8.0, help="that a night may take")
    return parser.parse_args(arguments)


def read_or(path, recorded):
    """Return what a benchmark wrote, or what was recorded of it."""
    return json.loads(path.read_text()) if path.exists() else recorded


if __name__ == "__main__":
    main()
