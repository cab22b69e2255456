"""One worker's model and how it learns: its packs of a global batch, one summed gradient, one step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.distilling.target_store import TargetStore
from eshop_ray.training.execution import Execution
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.loss import answer_loss, answer_losses, average, sum_by_task
from eshop_ray.training.model import build_model, save_trained
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.packing.pack import Pack, TokenRow, build_pack
from eshop_ray.training.sampler import BatchSampler
from eshop_ray.training.sharding import Parallelism, Replicas, build_parallelism
from eshop_ray.training.tokens import TokenStore

FILLER = build_pack([TokenRow("", "", [0], [0], weight=0.0)])
"""What a worker computes when it has run out of packs and others, who need its part of the weights, have not."""


class NotFiniteError(Exception):
    """The loss or its gradient is no number any more; the message names the rows of the step."""


@dataclass(frozen=True, slots=True)
class Learner:
    """Model and optimizer of one worker."""

    model: Any
    optimizer: torch.optim.Optimizer
    parallelism: Parallelism
    train: TrainSection
    execution: Execution
    device: torch.device
    targets: TargetStore | None = None
    """What a teacher says of the rows, where there is one."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def is_packed(self) -> bool:
        """Whether several rows share a pass."""
        return self.execution.is_packed

    def build_pack(self, store: TokenStore, sampler: BatchSampler, rows: Ints) -> Pack:
        """Return rows behind each other, what they begin with alike once."""
        return sampler.build_pack(store, rows, self.targets)

    def save(self, weights: Mapping[str, Tensor], model: Any, folder: Path) -> None:
        """Write trained weights in the format that others read."""
        save_trained(weights, model, folder)

    def step(self, share: Microbatches, rate: float) -> float:
        """Make one optimizer step and return the weighted mean loss of the global batch.

        Args:
            share: This worker's packs; there may be none in a short last batch.
            rate: Learning rate.

        Raises:
            NotFiniteError: on every worker, before the weights change.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        packs = self._divide(share.packs)
        losses = [self._pass_through(pack, share.total_weight) for pack in self._fill(packs, is_training=True)]
        total = torch.stack([torch.zeros((), device=self.device), *losses]).sum()
        self.parallelism.sum_gradients(self.parameters, total)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.train.max_grad_norm)
        mean = float(total)
        if not math.isfinite(mean + float(norm)):
            raise NotFiniteError(name_rows(packs, [math.isfinite(float(loss)) for loss in losses]))
        self.optimizer.step()
        return mean

    def measure(self, packs: Sequence[Pack], tasks: Sequence[str]) -> dict[str, float]:
        """Return the mean loss per answer token of each task over all workers' packs."""
        sums = torch.zeros(2, len(tasks), dtype=torch.float64, device=self.device)
        self.model.eval()
        with torch.no_grad():
            for pack in self._fill(self._divide(packs), is_training=False):
                with self._autocast():
                    losses, rows = answer_losses(self.model, pack, self.execution.attention, self.device)
                if pack is not FILLER:
                    sums += sum_by_task(losses, rows, pack, tasks)
        self.model.train()
        if dist.is_initialized():
            dist.all_reduce(sums)
        return average(sums, tasks)

    def _divide(self, packs: Sequence[Pack]) -> Sequence[Pack]:
        return packs if self.execution.is_packed else [one for pack in packs for one in pack.split()]

    def _pass_through(self, pack: Pack, total_weight: float) -> Tensor:
        with self._autocast():
            loss = answer_loss(self.model, pack, self.execution.attention, self.device) / total_weight
        loss.backward()
        return loss.detach()

    def _fill(self, packs: Sequence[Pack], is_training: bool) -> Iterator[Pack]:
        num_passes = self.parallelism.count_passes(len(packs))
        for index in range(num_passes):
            if is_training:
                self.parallelism.begin_pass(self.model, is_last=index == num_passes - 1)
            yield packs[index] if index < len(packs) else FILLER

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.train.precision == "bf16"):
            yield


def build_learner(
    model_dir: Path,
    train: TrainSection,
    lora: LoraSection,
    seed: int,
    device: torch.device,
    targets: TargetStore | None = None,
) -> Learner:
    """Load the model onto this worker's device, or its share of it, with an optimizer over what is trained.

    Args:
        model_dir: The base.
        train: Method, precision and rates.
        lora: Settings of the adapter.
        seed: Of its first weights.
        device: Where it is trained.
        targets: What a teacher says of the rows.

    Raises:
        UserError: if packs of this model cannot be computed.
    """
    model = build_model(model_dir, train, lora, seed, device)
    parallelism = build_parallelism(train)
    execution = Execution.prepare(model, train, device, replaces_head=isinstance(parallelism, Replicas))
    model = parallelism.prepare(model, device)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
    )
    return Learner(model, optimizer, parallelism, train, execution, device, targets)


def name_rows(packs: Sequence[Pack], is_finite: Sequence[bool]) -> str:
    """Return the ids of the rows, on all workers, whose packs have no finite loss; all ids if every pack has one."""
    own = [[name for pack in packs for name in pack.ids], []]
    own[1] = [name for pack, is_good in zip(packs, is_finite, strict=False) if not is_good for name in pack.ids]
    everyones = [own]
    if dist.is_initialized():
        everyones = [own] * dist.get_world_size()
        dist.all_gather_object(everyones, own)
    rows, bad = ([name for names in column for name in names] for column in zip(*everyones, strict=True))
    return ", ".join(sorted(bad or rows))
