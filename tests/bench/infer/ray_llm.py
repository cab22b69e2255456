"""The peer on Ray Data: its own LLM processor, put together as its documentation shows it."""

import json
import time

import ray
import ray.data
from ray.data.llm import build_processor, vLLMEngineProcessorConfig

from tests.bench.infer.rows import read_rows

NUM_STAGES = 5
"""Logical CPUs that its stages hold beside the engine; with fewer it waits for ever."""


def run(job):
    """Answer all rows; the clock runs from the call to the last answer, the engine's start included."""
    rows = read_rows(job["rows_path"])
    started = time.time()
    ray.init(address="local", num_cpus=job["num_cpus"] + NUM_STAGES, include_dashboard=False, log_to_driver=False)
    config = vLLMEngineProcessorConfig(
        model_source=job["model_dir"],
        engine_kwargs=job["engine"],
        concurrency=1,
        batch_size=job["batch_size"],
        placement_group_config={"bundles": [{"CPU": 1}]},
        runtime_env={"env_vars": job["environment"]},
    )
    processor = build_processor(config, preprocess=_ask, postprocess=_answer)
    found = processor(
        ray.data.from_items([{**row, "messages": json.dumps(row["messages"])} for row in rows])
    ).take_all()
    seconds = time.time() - started
    ray.shutdown()
    return {
        "seconds": seconds,
        "answers": {row["id"]: row["text"] for row in found},
        "num_generated_tokens": int(sum(row["num_generated_tokens"] for row in found)),
    }


def _ask(row):
    params = json.loads(row["sampling_params"])
    return {"id": row["id"], "messages": json.loads(row["messages"]), "sampling_params": params}


def _answer(row):
    return {"id": row["id"], "text": row["generated_text"], "num_generated_tokens": row["num_generated_tokens"]}
