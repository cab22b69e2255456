"""The peer without a pipeline: `vllm.LLM.chat` over all rows at once."""

import json
import time

from tests.bench.infer.rows import read_rows


def run(job):
    """Answer all rows; the clock runs while `chat` does."""
    from vllm import LLM

    from eshop_ray.inference.engines.vllm_actor import build_params

    rows = read_rows(job["rows_path"])
    started = time.time()
    engine = LLM(model=job["model_dir"], **job["engine"])
    ready = time.time()
    params = [build_params(json.loads(row["sampling_params"])) for row in rows]
    outputs = engine.chat([row["messages"] for row in rows], params, use_tqdm=False)
    seconds = time.time() - ready
    return {
        "seconds": seconds,
        "start_seconds": ready - started,
        "answers": {row["id"]: output.outputs[0].text for row, output in zip(rows, outputs, strict=True)},
        "num_generated_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
        "num_input_tokens": sum(len(output.prompt_token_ids) for output in outputs),
        "num_cached_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
    }
