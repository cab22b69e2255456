"""QLoRA: a few steps on a base in 4 bits lower the loss, and what was learned folds into the base on disk."""

import time
from pathlib import Path

import bitsandbytes
import torch

from eshop_ray.artifacts import write_manifest
from eshop_ray.config import LoraSection, MergeSection, TrainSection
from eshop_ray.models import model_digest
from eshop_ray.training.checkpoint import collect_state
from eshop_ray.training.learner import build_learner
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.model import check_method, save_trained
from tests.bench.gpu.models import SMALL, write_model
from tests.bench.gpu.outcome import OutOfToleranceError, check_at_most
from tests.bench.gpu.steps import build_share

NUM_STEPS = 20
RATE = 3e-3


def measure(job):
    device, workdir = torch.device(job["device"]), Path(job["workdir"])
    model_dir = write_model(workdir / "model", SMALL)
    train = TrainSection(method="qlora", precision="bf16", use_gpu=device.type == "cuda")
    lora = LoraSection(r=8)
    yield "bitsandbytes", bitsandbytes.__version__
    check_method(train, lora, model_dir)
    learner = build_learner(model_dir, train, lora, 0, device)
    in_four_bits = sum(type(weight).__name__ == "Params4bit" for weight in learner.model.parameters())
    yield "weights_in_4_bits", in_four_bits
    if not in_four_bits:
        raise OutOfToleranceError("no weight of the base is in 4 bits")
    yield "attention", learner.execution.attention
    share = build_share(SMALL.vocab_size)
    losses = [learner.step(share, RATE) for _ in range(NUM_STEPS)]
    yield "first_loss", losses[0]
    yield "last_loss", losses[-1]
    check_at_most("the last loss as a share of the first", losses[-1] / losses[0], 0.9)
    started = time.perf_counter()
    merge(learner.model, collect_state(learner.model, learner.optimizer)["model"], model_dir, workdir)
    yield "merge_seconds", time.perf_counter() - started
    merged_loss = measure_merged(workdir / "merged", train, lora, share, device)
    yield "merged_loss", merged_loss
    check_at_most("the merged model's loss as a share of the first", merged_loss / losses[0], 0.9)


def merge(model, weights, model_dir, workdir):
    """Save the adapter and write the merged model, which is compared with base plus update there."""
    adapter_dir = workdir / "adapter"
    save_trained(weights, model, adapter_dir)
    write_manifest(adapter_dir, "adapter", "inputs", {"base": model_digest(model_dir)})
    write_merged(Recipe(model_dir, (adapter_dir,), MergeSection(), 0), workdir / "merged")


def measure_merged(merged_dir, train, lora, share, device):
    """Return the loss of the merged model, whose weights are in bf16, on what was learned."""
    whole = train.model_copy(update={"method": "lora"})  # a fresh adapter changes nothing
    return build_learner(merged_dir, whole, lora, 0, device).step(share, 0.0)
