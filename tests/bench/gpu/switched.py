"""One engine for two tasks, with weights exchanged or updates beside the base, against a model merged alone."""

import gc
import shutil
import time
from pathlib import Path

import torch
import vllm

from eshop_ray.inference.engines.vllm_switch import TaskWeights, add_lora_arguments
from eshop_ray.models.shards import locate_tensors, write_shards
from eshop_ray.models.switched import update_dir, write_proofs
from eshop_ray.models.switched_weights import list_changed, read_folded, write_update
from eshop_ray.training.merging.switched import prove
from tests.bench.gpu.engine import start
from tests.bench.gpu.models import QWEN2_5_1_5B, SMALL, write_model
from tests.bench.gpu.outcome import OutOfToleranceError

TASKS = ("ner", "ranking")
MODELS = {"cuda": ("qwen2.5-1.5b", QWEN2_5_1_5B), "cpu": ("small", SMALL)}
SIZES = {"cuda": (1024, 96, 32), "cpu": (16, 12, 6)}
"""Rows of a task, tokens of a prompt, tokens of an answer."""
MAX_NUM_SEQS = {"cuda": 256, "cpu": 16}
"""Few CUDA graphs: capturing them is most of a start."""
RANK = 16
LEAST_EQUAL = {"switched": 0.97, "lora": 0.9}
"""Share of answers' first tokens: sums of a batch depend on who else is in it, and an update beside the base is rounded
for itself."""


def measure(job):
    device, workdir = job["device"], Path(job["workdir"])
    (model, config), (num_rows, length, _) = MODELS[device], SIZES[device]
    yield "vllm", vllm.__version__
    yield "model", model
    yield "rows", num_rows * len(TASKS)
    folder = add_updates(write_model(workdir / "switched", config, device), TASKS)
    rows = draw_rows(config.vocab_size, num_rows, length)
    num_tokens = SIZES[device][2]
    engine = Asked(merge_alone(folder, TASKS[0], workdir / "merged"), device, num_tokens)
    seconds, expected = engine.ask([(TASKS[0], ids) for ids in rows])
    engine.close()
    yield "merged_rows_per_second", num_rows / seconds
    for name, arguments in {"switched": {}, "lora": {"enable_lora": True}}.items():
        engine = Asked(folder, device, num_tokens, **arguments)
        if name == "switched":
            for _ in range(2):
                for task in TASKS:
                    engine.switch(task)
            yield "switch_seconds", engine.switch_seconds / engine.num_switches
        seconds, answers = engine.ask([(task, ids) for task in TASKS for ids in rows])
        engine.close()
        yield f"{name}_rows_per_second", len(answers) / seconds
        share = count_equal(answers[:num_rows], expected) / num_rows
        yield f"{name}_equal_first_tokens", share
        yield f"{name}_other_task_equal", count_equal(answers[:num_rows], answers[num_rows:]) / num_rows
        if share < LEAST_EQUAL[name]:
            raise OutOfToleranceError(f"{name}: {1 - share:.1%} of the answers begin with another token")


def count_equal(answers, others):
    """Return how many answers begin with the same token."""
    return sum(one[0] == other[0] for one, other in zip(answers, others, strict=True))


def add_updates(folder, tasks):
    """Make a model a switched one, with updates that are drawn at random, and return its folder."""
    torch.manual_seed(1)
    shapes = {name: tensor.shape for name, tensor in read_folded(folder, None, locate_tensors(folder))}
    for task in tasks:
        factors = {}
        for name, shape in shapes.items():
            if name.endswith("_proj.weight"):
                draw = torch.randn(RANK, shape[1]), torch.randn(shape[0], RANK)
                factors[name.removesuffix(".weight")] = draw[0] / shape[1] ** 0.5, draw[1] * 0.1
        write_update(update_dir(folder, task), factors)
    write_proofs(folder, prove(folder, tasks))
    return folder


def merge_alone(folder, task, merged_dir):
    """Return the folder of one task's merged model."""
    shutil.rmtree(merged_dir, ignore_errors=True)
    shutil.copytree(folder, merged_dir, ignore=shutil.ignore_patterns("switched*", "*.safetensors*"))
    names = locate_tensors(folder)
    folded = dict(read_folded(folder, task, list_changed(folder, [task])))
    write_shards(names, lambda name, tensor: folded.get(name, tensor), torch.bfloat16, merged_dir)
    return merged_dir


def draw_rows(vocabulary, num_rows, length, seed=2):
    """Return prompts of tokens drawn at random."""
    ids = torch.randint(3, vocabulary, (num_rows, length), generator=torch.Generator().manual_seed(seed))
    return ids.tolist()


class Asked:
    """An engine, and the weights that it answers with."""

    def __init__(self, folder, device, num_tokens, **arguments):
        self.device = device
        self.num_tokens = num_tokens
        stated = {"dtype": "bfloat16", "max_num_seqs": MAX_NUM_SEQS[device], **add_lora_arguments(arguments, folder)}
        self.engine = start(folder, device, **stated)
        self.weights = TaskWeights(self.engine, folder)
        self.switch_seconds, self.num_switches = 0.0, 0

    def switch(self, task):
        started = time.perf_counter()
        self.weights.switch(task)
        self.switch_seconds += time.perf_counter() - started
        self.num_switches += 1

    def ask(self, rows):
        """Return seconds and each answer's tokens."""
        from eshop_ray.inference.engines.vllm_actor import build_params

        params = {"temperature": 0.0, "max_tokens": self.num_tokens, "ignore_eos": True}
        answers, waiting = {}, dict(enumerate(rows))
        started = time.perf_counter()
        while waiting:
            task = next(iter(waiting.values()))[0]
            if not self.weights.can_answer(task):
                self.switch(task)
            ready = {number: row for number, row in waiting.items() if self.weights.can_answer(row[0])}
            for number, (name, ids) in ready.items():
                prompt = {"type": "token", "prompt_token_ids": ids}
                lora = self.weights.choose_lora(name)
                self.engine.add_request(str(number), prompt, build_params(params), lora_request=lora)
                del waiting[number]
            while self.engine.has_unfinished_requests():
                for output in self.engine.step():
                    if output.finished:
                        answers[int(output.request_id)] = list(output.outputs[0].token_ids)
        return time.perf_counter() - started, [answers[number] for number in range(len(rows))]

    def close(self):
        """Give the memory back."""
        self.engine.engine_core.shutdown()
        del self.engine, self.weights
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
