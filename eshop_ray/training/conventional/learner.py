"""One worker's conventional model and how it learns: its rows of a global batch, one summed gradient, one step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from eshop_ray.config import ConventionalSection
from eshop_ray.data.conventional import divide
from eshop_ray.models.conventional import Spec, load_plain_tokenizer
from eshop_ray.models.conventional_weights import build_model, save_model
from eshop_ray.training.conventional.loss import row_losses
from eshop_ray.training.conventional.rows import ModelRow, decode_row
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.learner import NotFiniteError
from eshop_ray.training.loss import average
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.sampler import BatchSampler
from eshop_ray.training.sharding import Replicas
from eshop_ray.training.tokens import TokenStore

TOKENS_PER_PASS = 8192
"""Tokens of a forward pass with its padding, at most."""


@dataclass(frozen=True, slots=True)
class ConventionalLearner:
    """Model and optimizer of one worker."""

    model: Any
    optimizer: torch.optim.Optimizer
    train: ConventionalSection
    spec: Spec
    source: Path
    """What the model started from."""
    device: torch.device

    @classmethod
    def build(
        cls, source: Path, train: ConventionalSection, spec: Spec, seed: int, device: torch.device
    ) -> "ConventionalLearner":
        """Load the model onto this worker's device, with an optimizer over all its weights."""
        model = build_model(source, spec, seed).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
        return cls(model, optimizer, train, spec, source, device)

    @property
    def is_packed(self) -> bool:
        """Rows are padded, each for itself."""
        return False

    def build_pack(self, store: TokenStore, sampler: BatchSampler, rows: Ints) -> list[ModelRow]:
        """Return rows of the store, with what they count."""
        weights = sampler.task_weights[rows].tolist()
        return [decode_row(row, weight) for row, weight in zip(store.read(rows), weights, strict=True)]

    def step(self, share: Microbatches, rate: float) -> float:
        """Make one optimizer step and return the weighted mean loss of the global batch; see `Learning`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        bad: list[str] = []
        for batch in _divide(share.packs):
            losses = self._compute(batch)
            weights = torch.tensor([row.weight for row in batch], device=self.device)
            loss = (losses * weights).sum() / share.total_weight
            loss.backward()
            total += loss.detach()
            bad += [row.id for row, one in zip(batch, losses.tolist(), strict=True) if not math.isfinite(one)]
        parameters = list(self.model.parameters())
        for parameter in parameters:  # a head without rows learns nothing, however many workers there are
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        Replicas().sum_gradients(parameters, total)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.train.max_grad_norm)
        if not math.isfinite(float(total) + float(norm)):
            raise NotFiniteError(_name_rows([row.id for pack in share.packs for row in pack], bad))
        self.optimizer.step()
        return float(total)

    def measure(self, packs: Sequence[list[ModelRow]], tasks: Sequence[str]) -> dict[str, float]:
        """Return the mean loss per row of each task over all workers' rows."""
        sums = torch.zeros(2, len(tasks), dtype=torch.float64, device=self.device)
        self.model.eval()
        with torch.no_grad():
            for batch in _divide(packs):
                of_row = torch.tensor([tasks.index(row.task) for row in batch], device=self.device)
                losses = self._compute(batch).double()
                sums[0].index_add_(0, of_row, losses)
                sums[1].index_add_(0, of_row, torch.ones_like(losses))
        self.model.train()
        if dist.is_initialized():
            dist.all_reduce(sums)
        return average(sums, tasks)

    def save(self, weights: Mapping[str, Tensor], model: Any, folder: Path) -> None:
        """Write trained weights as `load_model` reads them."""
        save_model(folder, self.source, self.spec, model, weights)

    def _compute(self, batch: Sequence[ModelRow]) -> Tensor:
        with self._autocast():
            return row_losses(self.model, self.spec, batch, load_plain_tokenizer(self.source), self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        autocast: AbstractContextManager[Any] = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.train.precision == "bf16"
        )
        return autocast


def _divide(packs: Sequence[list[ModelRow]]) -> Iterator[list[ModelRow]]:
    """Yield the rows of packs as they are computed."""
    rows = sorted((row for pack in packs for row in pack), key=lambda row: row.id)
    for places in divide([row.shape for row in rows], TOKENS_PER_PASS):
        yield [rows[place] for place in places]


def _name_rows(names: list[str], bad: list[str]) -> str:
    """Return the ids of the rows, on all workers, whose loss is not finite; all ids if every loss is."""
    everyones = [[names, bad]]
    if dist.is_initialized():
        everyones *= dist.get_world_size()
        dist.all_gather_object(everyones, [names, bad])
    rows, worst = ([name for part in column for name in part] for column in zip(*everyones, strict=True))
    return ", ".join(sorted(worst or rows))
