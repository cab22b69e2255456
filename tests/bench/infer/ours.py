"""Our side: rows -> prompts -> engine stage -> predictions on disk, as `batch_infer` puts it together."""

import os
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import ray.data

from eshop_ray.cluster import start_ray
from eshop_ray.config import InferConfig, RaySection
from eshop_ray.inference import vllm
from eshop_ray.inference.actor import EngineActor
from eshop_ray.inference.batch import add_predictions
from eshop_ray.inference.stage import CALLS_PER_BLOCK
from eshop_ray.progress import watch
from eshop_ray.schema import PROMPT_SCHEMA
from tests.bench.infer.rows import read_rows

READY = "ESHOP_RAY_BENCH_READY"
"""Environment variable with the path of a file that gets the time at which the engine is up."""


class TimedActor(EngineActor):
    """Notes when it is up."""

    async def start(self):
        await super().start()
        Path(os.environ[READY]).write_text(repr(time.time()))


def run(job):
    """Answer all rows and write predictions; the clock runs from the engine's start to the last file."""
    config = InferConfig(**job["infer"])
    vllm.EngineActor = TimedActor
    with tempfile.TemporaryDirectory() as folder:
        os.environ[READY] = str(Path(folder, "ready"))
        started = time.time()
        start_ray(RaySection(), num_cpus=config.num_cpus)
        columns = {"group": None, "metric": None, "target": None, "error": None}
        table = pa.Table.from_pylist([{**columns, **row} for row in read_rows(job["rows_path"])], PROMPT_SCHEMA)
        prompts = ray.data.from_arrow(table).repartition(target_num_rows_per_block=CALLS_PER_BLOCK * config.batch_size)
        engine = vllm.build_vllm(config, Path(job["model_dir"]))
        with watch("answering", table.num_rows) as board:
            add_predictions(engine(prompts), board).write_parquet(f"{folder}/predictions")
        ended = time.time()
        ready = float(Path(folder, "ready").read_text())
        found = pyarrow.dataset.dataset(f"{folder}/predictions").to_table().to_pylist()
    ray.shutdown()
    return {
        "seconds": ended - ready,
        "start_seconds": ready - started,
        "answers": {row["id"]: row["generated_text"] for row in found},
        "num_generated_tokens": sum(row["num_generated_tokens"] for row in found),
        "num_input_tokens": sum(row["num_input_tokens"] for row in found),
    }
