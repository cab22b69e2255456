"""Our side as a job runs it: Ray Train, worker processes and gloo. All that knows its interface is here."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import ray
import ray.data

from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.tokenization import TOKEN_SCHEMA
from eshop_ray.training.prepared_run import PreparedRun
from eshop_ray.training.sampler import build_sampler
from eshop_ray.training.tokens import write_tokens
from eshop_ray.training.trainer import build_trainer
from tests.bench.train.rows import read_rows


@ray.remote(num_cpus=0)
class StepTimes:
    """Stands in for the progress board: notes when the first worker says that a step is done."""

    def __init__(self):
        self.steps = []

    def add(self, rows=0, **_):
        if rows:
            self.steps.append((time.perf_counter(), rows))

    def read(self):
        return self.steps


def run(job):
    """Train with `num_workers` workers, each with its share of `threads`; from the first step's end to the last's.

    What Ray takes to start, and the checkpoint after the last step, are left out; every step in between counts with
    all that the workers do to agree.
    """
    workers = {"num_workers": job["num_workers"], "torch_threads": max(1, job["threads"] // job["num_workers"])}
    config = Config.model_validate({**job["config"], "train": {**job["train"], **workers}})
    with TemporaryDirectory() as folder:
        start_ray(config.ray, num_cpus=job["num_workers"] + 2)
        times = StepTimes.remote()
        work = prepare_work(read_rows(job["rows_path"]), config, Path(folder))
        build_trainer(config, Path(job["model_dir"]), work, times).fit()
        steps = ray.get(times.read.remote())
        ray.shutdown()
    seconds, rows = steps[-1][0] - steps[0][0], sum(rows for _, rows in steps[1:])
    return {"rows": rows, "seconds": seconds, "rows_per_second": rows / seconds, "num_steps": len(steps)}


def prepare_work(rows, config, folder):
    """Return what a job makes of its records before training: token files and the sampler."""
    columns = dict.fromkeys(TOKEN_SCHEMA.names)
    values = [
        {**columns, "id": row.id, "task": row.task, "prompt_ids": row.prompt_ids, "answer_ids": row.answer_ids}
        for row in rows
    ]
    tokens = ray.data.from_arrow(pa.Table.from_pylist(values, schema=TOKEN_SCHEMA))
    store = write_tokens(tokens, folder / "tokens")
    return PreparedRun(folder, store, build_sampler(store, config.train, config.seed))
