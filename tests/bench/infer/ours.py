"""Our side: rows -> prompts -> engine stage -> answers on disk as they come, as `batch_infer` puts it together."""

import functools
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import ray.data

from eshop_ray.cluster import start_ray
from eshop_ray.config import InferSection, RaySection
from eshop_ray.inference.answer_parts import AnswerParts
from eshop_ray.inference.batch import keep_answers
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK
from eshop_ray.inference.engines import vllm
from eshop_ray.inference.engines.vllm import build_actor
from eshop_ray.progress import watch
from eshop_ray.schema import PROMPT_SCHEMA
from tests.bench.infer.rows import read_rows


class TimedEngine:
    """An engine that notes when it was first up."""

    def __init__(self, engine, path):
        self._engine = engine
        self._path = path
        self.ask = engine.ask
        self.stop = engine.stop
        self.measure_progress = engine.measure_progress

    async def start(self):
        await self._engine.start()
        if not self._path.exists():
            self._path.write_text(repr(time.time()))


def build_timed(path, *arguments):
    return TimedEngine(build_actor(*arguments), path)


def run(job):
    """Answer all rows and write predictions; the clock runs from when the first engine is up to the last file."""
    config = InferSection(**job["infer"])
    with tempfile.TemporaryDirectory() as folder:
        vllm.build_actor = functools.partial(build_timed, Path(folder, "ready"))
        started = time.time()
        start_ray(RaySection(), num_cpus=config.num_cpus)
        columns = {"group": None, "metric": None, "target": None, "error": None}
        table = pa.Table.from_pylist([{**columns, **row} for row in read_rows(job["rows_path"])], PROMPT_SCHEMA)
        prompts = ray.data.from_arrow(table).repartition(target_num_rows_per_block=CALLS_PER_BLOCK * config.batch_size)
        engine = vllm.build_vllm(config, Path(job["model_dir"]))
        with watch("answering", table.num_rows) as board:
            parts = AnswerParts(Path(folder, "predictions"), "bench")
            parts.open()
            keep_answers(engine(prompts), parts, board)
        ended = time.time()
        ready = float(Path(folder, "ready").read_text())
        found = pa.concat_tables(parts.read()).to_pylist()
    ray.shutdown()
    return {
        "seconds": ended - ready,
        "start_seconds": ready - started,
        "answers": {row["id"]: row["generated_text"] for row in found},
        "num_generated_tokens": sum(row["num_generated_tokens"] for row in found),
        "num_input_tokens": sum(row["num_input_tokens"] for row in found),
    }
