"""One measurement, in a process of its own: records -> prompts -> simulated engines -> predictions on disk."""

import json
import os
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow as pa
import ray.data

from eshop_ray.cluster import start_ray
from eshop_ray.config import InferSection, RaySection
from eshop_ray.data.prompts import add_prompts
from eshop_ray.inference.answer_parts import AnswerParts
from eshop_ray.inference.batch import keep_answers
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.dispatch import stage
from eshop_ray.progress import watch
from tests.bench.scale.rows import build_tables

ANSWER_TOKENS = 100

FEEDERS = 4
"""Logical CPUs for what feeds the engines and writes."""

KINDS = {"AnswerStage": "stage", "SimulatedEngine": "engines", "ray::": "data", "raylet": "ray", "gcs_server": "ray"}
"""How a process's name begins or what it holds -> what its CPU time is counted as; all else is `driver`."""


class Watch(threading.Thread):
    """Lets the engines begin once all are up, and adds up CPU time from then on, of processes that end as well."""

    def __init__(self, folder, num_replicas):
        super().__init__(daemon=True)
        self.folder, self.num_replicas = folder, num_replicas
        self.used = {}
        self.is_over = threading.Event()

    def run(self):
        while len(list(self.folder.glob("*.jsonl"))) < self.num_replicas:
            time.sleep(0.1)
        time.sleep(2.0)  # the first prompts are written meanwhile
        before = read_cpu()
        self.started = time.time()
        (self.folder / "go").touch()
        while not self.is_over.wait(1.0):
            self.used.update(read_cpu())
        self.used = {key: seconds - before.get(key, 0.0) for key, seconds in self.used.items()}

    def stop(self):
        """Return the CPU seconds by kind, and the machine's."""
        self.is_over.set()
        self.join()
        spent = Counter(dict.fromkeys(("stage", "engines", "data", "ray", "driver", "machine"), 0.0))
        for (_, kind), seconds in self.used.items():
            spent[kind] += seconds
        return dict(spent)


def run(job):
    """Answer all rows; the clock runs from the moment at which all engines are up to the last file."""
    stage.GROUP_SIZE = job["group_size"]
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        trace.mkdir()
        timing = {**job["timing"], "trace_dir": str(trace)}
        options = {
            "timing": timing,
            "start_on": str(trace / "go"),
            "truncate_on": " ",
            "truncate_tokens": ANSWER_TOKENS,
        }
        config = InferSection(**job["infer"], engine="simulated", engine_kwargs=options)
        begun = time.time()
        num_cpus = config.concurrency + FEEDERS
        start_ray(RaySection(num_cpus=num_cpus), num_cpus=num_cpus)
        tables = build_tables(job["num_rows"], job["num_families"])
        blocks = ray.data.from_arrow(tables).repartition(
            target_num_rows_per_block=stage.CALLS_PER_BLOCK * config.batch_size
        )
        engine = build_engine(config, Path("none"))
        watched = Watch(trace, config.concurrency)
        watched.start()
        with watch("answering", job["num_rows"]) as board:
            parts = AnswerParts(Path(folder, "predictions"), "bench")
            parts.open()
            keep_answers(engine(add_prompts(blocks)), parts, board)
        seconds = time.time() - watched.started
        cpu = watched.stop()
        found = pa.concat_tables(table.select(["id", "error"]) for table in parts.read())
        calls = [[json.loads(line) for line in path.read_text().splitlines()] for path in trace.glob("*.jsonl")]
    ray.shutdown()
    return {
        "seconds": seconds,
        "start_seconds": watched.started - begun,
        "started": watched.started,
        "num_answered": len(set(found["id"].to_pylist())) - (len(found) - found["error"].null_count),
        "cpu_seconds": cpu,
        "calls": calls,
    }


def read_cpu():
    """Return the CPU seconds of this process, those below it and the machine, by process and kind."""
    used = {}
    mine = psutil.Process(os.getpid())
    for process in [mine, *mine.children(recursive=True)]:
        try:
            title = " ".join(process.cmdline()) or process.name()
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        kind = next((kind for word, kind in KINDS.items() if word in title), "driver")
        used[process.pid, kind] = times.user + times.system
    machine = psutil.cpu_times()
    return {**used, (0, "machine"): sum(machine) - machine.idle - machine.iowait}
