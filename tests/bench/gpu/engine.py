"""vLLM as the project starts it, asked without Ray."""

import os

import torch


def start(model_dir, device, **stated):
    """Return the engine of a model."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    on_gpu = device == "cuda"
    if not on_gpu:
        from eshop_ray.cluster import cpu_engine_environment

        os.environ |= cpu_engine_environment(1, torch.get_num_threads())
    from eshop_ray.inference.engines.vllm_actor import load_engine
    from eshop_ray.inference.engines.vllm_arguments import build_arguments

    share = {"gpu_memory_utilization": 0.5} if on_gpu else {"max_num_seqs": 16}
    return load_engine({"model": str(model_dir), **build_arguments({**share, **stated}, on_gpu)})


def ask(engine, questions):
    """Return vLLM's output for each pair of token ids and sampling parameters."""
    from eshop_ray.inference.engines.vllm_actor import build_params

    for number, (ids, params) in enumerate(questions):
        engine.add_request(str(number), {"type": "token", "prompt_token_ids": ids}, build_params(params))
    outputs = {}
    while engine.has_unfinished_requests():
        outputs |= {output.request_id: output for output in engine.step() if output.finished}
    return [outputs[str(number)] for number in range(len(questions))]
