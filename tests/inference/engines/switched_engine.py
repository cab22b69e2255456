"""A process that asks vLLM about rows of two tasks: a switched model, and each task's own merged model."""

import asyncio
import json
import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
sys.path[0] = str(Path(__file__).parents[3])
sys.path.insert(1, str(Path(__file__).parents[2] / "training" / "merging"))

from eshop_ray.cluster import cpu_engine_environment  # noqa: E402

os.environ |= cpu_engine_environment(1, 2)

from test_switched import TASKS, save_task_adapter, switch  # noqa: E402

from eshop_ray.config import MergeSection  # noqa: E402
from eshop_ray.inference.engines.vllm_actor import VllmActor  # noqa: E402
from eshop_ray.inference.engines.vllm_arguments import build_arguments  # noqa: E402
from eshop_ray.inference.requests import Request  # noqa: E402
from eshop_ray.training.merging.fold import write_merged  # noqa: E402
from eshop_ray.training.merging.recipe import Recipe  # noqa: E402

PARAMS = {"temperature": 0.0, "max_tokens": 12, "ignore_eos": True}


def main(mode, model_dir, workdir):
    adapters = {
        task: save_task_adapter(model_dir, workdir / task, seed, [task], **settings)
        for seed, (task, settings) in enumerate(TASKS.items())
    }
    folders = {"switched": switch(model_dir, adapters.values(), workdir / "switched_model")}
    for task, adapter in adapters.items():
        folders[task] = workdir / f"merged_{task}"
        write_merged(Recipe(model_dir, (adapter,), MergeSection(), 0), folders[task])
    requests = [
        Request([3 + number, 40, 7 * number % 90 + 3], PARAMS, weights=list(TASKS)[number % 2]) for number in range(24)
    ]
    texts = {}
    for name, folder in folders.items():
        answers = asyncio.run(ask(mode if name == "switched" else mode.replace("lora", "eager"), folder, requests))
        texts[name] = [answer.text for answer in answers]
    single = [texts[request.weights][number] for number, request in enumerate(requests)]
    differ = texts["ner"] != texts["classification"]
    result = {"switched": texts["switched"], "single": single, "differ": differ}
    (workdir / "result.json").write_text(json.dumps(result))


async def ask(mode, model_dir, requests):
    chosen = {"max_num_seqs": 16, "enforce_eager": mode != "compiled", "dtype": "float32"}
    if mode == "lora":
        chosen["enable_lora"] = True
    actor = VllmActor({"model": model_dir, **build_arguments({}, False), **chosen})
    await actor.ready()
    halves = await asyncio.gather(actor.answer(requests[:10]), actor.answer(requests[10:]))
    return [*halves[0], *halves[1]]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)  # the engines' threads wait for ever
