"""FSDP2 with one worker, sharded all the same: loss and gradients are those of the whole model."""

from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training import learner as learners
from eshop_ray.training.sharding import Replicas, Shards
from tests.bench.gpu.models import SMALL, write_model
from tests.bench.gpu.outcome import OutOfToleranceError, check_at_most
from tests.bench.gpu.steps import build_share

METHODS = ("lora", "full")
TOLERANCE = 1e-4


def measure(job):
    device = torch.device(job["device"], 0)  # Ray Train names the GPU by its number too
    model_dir = write_model(Path(job["workdir"], "model"), SMALL)
    backend, meeting = {"cuda": "nccl", "cpu": "gloo"}[device.type], Path(job["workdir"], "meeting")
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=0, world_size=1)
    try:
        yield "backend", backend
        for method in METHODS:
            whole_loss, whole = learn(model_dir, method, Replicas(), device)
            loss, sharded = learn(model_dir, method, Shards(), device)
            difference = max(float((sharded[name] - whole[name]).norm() / whole[name].norm()) for name in whole)
            yield f"{method}_gradients", difference
            yield f"{method}_loss", abs(loss - whole_loss) / whole_loss
            if whole.keys() != sharded.keys():
                raise OutOfToleranceError(f"{method}: sharded, {set(whole) ^ set(sharded)} have no gradient")
            check_at_most(f"{method}: the largest relative difference of a gradient", difference, TOLERANCE)
            check_at_most(f"{method}: the relative difference of the loss", abs(loss - whole_loss) / whole_loss, 1e-5)
    finally:
        dist.destroy_process_group()


def learn(model_dir, method, parallelism, device):
    """Return loss and gradients of one step, in two passes."""
    train = TrainSection(
        method=method,
        precision="fp32",
        attention="mask",
        sharding="fsdp",
        max_grad_norm=1e9,
        use_gpu=device.type == "cuda",
    )
    with patch.object(learners, "build_parallelism", lambda _: parallelism):  # it shards nothing for a lone worker
        learner = learners.build_learner(model_dir, train, LoraSection(r=4), 0, device)
    is_sharded = any(isinstance(module, FSDPModule) for module in learner.model.modules())
    if is_sharded != isinstance(parallelism, Shards):
        raise OutOfToleranceError(f"{method}: FSDP2 has not taken hold of the model")
    for number, (name, weight) in enumerate(learner.model.named_parameters()):
        if "lora_B" in name:  # zero at first, which leaves the other factor without a gradient
            fill(weight, number)
    loss = learner.step(build_share(SMALL.vocab_size, num_packs=2), rate=0.0)
    named = {name: weight.grad for name, weight in learner.model.named_parameters() if weight.grad is not None}
    return loss, {
        name: getattr(gradient, "full_tensor", lambda gradient=gradient: gradient)() for name, gradient in named.items()
    }


def fill(weight, seed):
    """Give a weight, or this worker's share of it, which is all of it, random values."""
    own = weight.to_local() if hasattr(weight, "to_local") else weight
    drawn = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        own.copy_(0.05 * drawn)
