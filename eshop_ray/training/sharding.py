"""How workers of one run share the work: each with a whole model, or each with a share of its weights.

Either way the gradient of a step is the sum over all packs of all workers, so both learn the same.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from eshop_ray.config import TrainSection
from eshop_ray.training.model import find_layers, get_causal_lm


class Parallelism(Protocol):
    """What a worker has to do beside its own passes; all workers call all methods equally often."""

    def prepare(self, model: Any, device: torch.device) -> Any:
        """Bring a model to the device, or this worker's share of it; the optimizer is built afterwards."""

    def count_passes(self, num_packs: int) -> int:
        """Return how many passes a worker with so many packs has to make; those without a pack of their own need
        one of zero weight.
        """

    def begin_pass(self, model: Any, is_last: bool) -> None:
        """Say before each forward pass whether it is the last of its step."""

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], total: torch.Tensor) -> None:
        """After the last pass: let all workers have the sum of gradients and, in place, of `total`."""


class Replicas:
    """Every worker holds the model, and gradients are added up once a step.

    An adapter's gradients are a few megabytes: one flat buffer after the backward passes costs less than hooks that
    overlap them, and workers may differ in how many packs they have, none included.
    """

    def prepare(self, model: Any, device: torch.device) -> Any:
        """See `Parallelism`."""
        return model.to(device)

    def count_passes(self, num_packs: int) -> int:
        """See `Parallelism`: as many as there are packs."""
        return num_packs

    def begin_pass(self, model: Any, is_last: bool) -> None:
        """See `Parallelism`: nothing to do."""

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], total: torch.Tensor) -> None:
        """See `Parallelism`."""
        if count_workers() == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([total.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        dist.all_reduce(flat)
        total.copy_(flat[0])
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, flat[1:].split(sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))


class Shards:
    """Workers share the weights out (FSDP2) and gather each layer's only while they compute it.

    Gathering hangs on the forward pass of the causal LM and of its layers: a loss has to call the causal LM itself,
    not its decoder and head. All workers gather together, so all make the same number of passes.
    """

    def __init__(self) -> None:
        self._device = torch.device("cpu")

    def prepare(self, model: Any, device: torch.device) -> Any:
        """See `Parallelism`. Layer by layer, so that the device never holds the whole model."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.set_device(device)  # FSDP2 takes the current one, and workers of a node see all of its GPUs
        causal_lm = get_causal_lm(model)
        mesh = init_device_mesh(device.type, (count_workers(),))
        for module in (*find_layers(model), causal_lm):
            fully_shard(module, mesh=mesh)
        for module in causal_lm.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        return model

    def count_passes(self, num_packs: int) -> int:
        """See `Parallelism`: as many as the worker with the most packs makes."""
        most = torch.tensor(num_packs, device=self._device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def begin_pass(self, model: Any, is_last: bool) -> None:
        """See `Parallelism`.

        An adapter's gradients wait whole for the last pass, which adds them up over the workers. Those of a fully
        trained model would be as large as the model, and are added up in every pass.
        """
        is_full = all(parameter.requires_grad for parameter in model.parameters())
        get_causal_lm(model).set_requires_gradient_sync(is_last or is_full)

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], total: torch.Tensor) -> None:  # noqa: ARG002
        """See `Parallelism`: the last backward pass has added up the gradients."""
        dist.all_reduce(total)


def build_parallelism(train: TrainSection) -> Parallelism:
    """Return the way of `train.sharding`; a lone worker has nobody to share with."""
    return Shards() if train.sharding == "fsdp" and count_workers() > 1 else Replicas()


def count_workers() -> int:
    """Return the number of workers of the run that this process belongs to."""
    return dist.get_world_size() if dist.is_initialized() else 1
