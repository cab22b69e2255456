"""Rows per second of packed LoRA training against TRL's SFTTrainer, in turns, on the same rows and in bf16."""

import gc
import importlib.util
import os
from functools import partial
from pathlib import Path

import torch

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.kernels.layouts import choose_attention
from tests.bench.gpu.models import QWEN2_5_1_5B, SMALL, write_model
from tests.bench.gpu.outcome import OutOfToleranceError
from tests.bench.gpu.packs import draw_rows
from tests.bench.train import ours
from tests.bench.train.results import check_same_work, find_median
from tests.bench.train.rows import write_rows

MODELS = {"cuda": ("qwen2.5-1.5b", QWEN2_5_1_5B), "cpu": ("small", SMALL)}
SHARED = {"cuda": (154, 12, 36), "cpu": (24, 6, 8)}
"""Tokens that all rows share, and own prompt and answer tokens of a row at most: on a GPU as QueryNER's published
instruction has them."""
STEPS = {"cuda": (6, 128, 32), "cpu": (3, 8, 4)}
"""Steps, the first of which warms up, rows of a step, and rows of the peer's micro-batches."""
NUM_REPEATS = 3


def measure(job):
    device = job["device"]
    workdir, (model, config) = Path(job["workdir"]), MODELS[device]
    num_steps, batch_size, micro_batch = STEPS[device]
    rows, _ = draw_rows([(SHARED[device][0], num_steps * batch_size, *SHARED[device][1:])], config.vocab_size)
    write_rows(workdir / "rows.json", rows)
    train = TrainSection(global_batch_size=batch_size, pack_length=8192, use_gpu=device == "cuda", learning_rate=1e-4)
    settings = {
        "model_dir": str(write_model(workdir / "model", config, device)),
        "rows_path": str(workdir / "rows.json"),
        "train": train.model_dump(),
        "lora": LoraSection().model_dump(),
        "seed": 0,
        "threads": os.cpu_count(),
        "micro_batch": micro_batch,
        "weights": "bf16",
        "is_packed": False,
        "max_length": None,
    }
    yield "model", model
    yield "rows_per_step", batch_size
    yield "mean_tokens_per_row", sum(map(len, rows)) / len(rows)
    peer, learn_peer = build_peer(settings, workdir)
    yield "peer", peer
    sides = {**build_ours(settings), "peer_side": learn_peer}
    runs = {name: [] for name in sides}
    for number in range(NUM_REPEATS):
        for name, learn in sides.items():
            runs[name].append(learn())
            free_memory()
        if not number:
            check_same_work({"ours": next(iter(runs.values())), "trl_padded": runs["peer_side"]})
        yield from ((f"{name}_rows_per_second", find_median(done, "rows_per_second")) for name, done in runs.items())
    peer_rate = find_median(runs.pop("peer_side"), "rows_per_second")
    for name, done in runs.items():
        yield f"{name}_against_peer", find_median(done, "rows_per_second") / peer_rate


def build_ours(settings):
    """Return what trains, by the name of its attention, which is that of the device.

    Raises:
        OutOfToleranceError: if training does without the attention of the device.
    """
    training = ours.Training(settings)
    learner = training.learner
    attention, fastest = learner.execution.attention, choose_attention("auto", learner.device)
    if attention != fastest:
        raise OutOfToleranceError(f"training takes `{attention}` attention, and `{fastest}` is the device's")
    return {f"ours_{attention}": partial(ours.learn, training)}


def build_peer(settings, workdir):
    """Return the peer's name and what trains it."""
    if importlib.util.find_spec("trl") and importlib.util.find_spec("datasets"):
        import trl

        from tests.bench.train import trl_sft

        trainer = trl_sft.build_trainer(settings, str(workdir / "trl"))
        return f"TRL {trl.__version__} SFTTrainer, padded", partial(trl_sft.learn, trainer)
    from tests.bench.gpu import padded_peft

    return "PEFT in a plain padded loop: TRL is not installed", partial(
        padded_peft.learn, padded_peft.PeftLoop(settings)
    )


def free_memory():
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
