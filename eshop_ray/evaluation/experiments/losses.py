"""What an update of the base costs or gains on each task: mean losses of validation rows, the base being loaded once.

Candidates of a search differ in their updates only. So the base stays in memory, each layer's update is put in the
place of the one before, and the packs of rows, made once, go forward through it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.schema import content_id
from eshop_ray.training.execution import Execution
from eshop_ray.training.kernels.fused_lora import ADAPTER
from eshop_ray.training.loss import answer_losses, average, sum_by_task
from eshop_ray.training.merging.adapters import Update
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.packing.pack import Pack
from eshop_ray.training.sampler import build_sampler
from eshop_ray.training.tokens import TokenStore


@dataclass(frozen=True, slots=True)
class EvalSet:
    """The rows that every candidate is measured by."""

    packs: Sequence[Pack]
    tasks: Sequence[str]
    rows: Mapping[str, int]
    """Task -> number of rows."""
    answer_tokens: Mapping[str, int]
    """Task -> number of answer tokens."""

    @property
    def num_rows(self) -> int:
        """Rows of all tasks."""
        return sum(self.rows.values())


def build_eval_set(store: TokenStore, train: TrainSection, places: range) -> EvalSet:
    """Fill packs with rows of a store, whatever task they are of; what rows begin with alike is computed once.

    Args:
        store: The validation rows.
        train: Length of packs.
        places: Which rows of each task to take, in an order that is always the same; a task may have fewer.
    """
    everything = train.model_copy(update={"num_held_out": 0, "global_batch_size": max(1, len(store))})
    plan = build_sampler(store, everything, seed=0)
    ids = store.ids.to_pylist()
    ranked = np.array(sorted(range(len(ids)), key=lambda row: content_id(ids[row])), dtype=np.int64)
    chosen = slice(places.start, places.stop)
    rows = np.sort(np.concatenate([ranked[store.tasks[ranked] == task][chosen] for task in np.unique(store.tasks)]))
    packs = [plan.build_pack(store, pack) for pack in plan.divide(rows, train.pack_length)]
    tasks, numbers, counts = np.unique(store.tasks[rows], return_inverse=True, return_counts=True)
    answer_tokens = np.bincount(numbers, store.num_answer[rows]).astype(int)
    names = tasks.tolist()
    return EvalSet(
        packs,
        names,
        dict(zip(names, counts.tolist(), strict=True)),
        dict(zip(names, answer_tokens.tolist(), strict=True)),
    )


def pool_losses(parts: Iterable[tuple[EvalSet, Mapping[str, float | None]]]) -> dict[str, float | None]:
    """Return task -> mean loss per answer token over the rows of several eval_sets.

    Args:
        parts: An eval_set and the losses measured by it; one that is no number makes the task's mean None.
    """
    sums: dict[str, float] = {}
    num_tokens: dict[str, int] = {}
    for eval_set, losses in parts:
        for task, loss in losses.items():
            sums[task] = sums.get(task, 0.0) + eval_set.answer_tokens[task] * (math.nan if loss is None else loss)
            num_tokens[task] = num_tokens.get(task, 0) + eval_set.answer_tokens[task]
    means = {task: total / num_tokens[task] for task, total in sums.items()}
    return {task: None if math.isnan(mean) else mean for task, mean in means.items()}


class LossScorer:
    """A base with room for an update of each of its layers."""

    def __init__(self, model_dir: Path, modules: Sequence[str], train: TrainSection, device: torch.device) -> None:
        """Load the base.

        Args:
            model_dir: The base.
            modules: Names, within the base, of all layers that any candidate updates.
            train: `precision` and `attention`; as in training, so that losses can be compared with its.
            device: Where to compute.
        """
        self._device = device
        self._is_autocast = train.precision == "bf16"
        train = train.model_copy(update={"method": "lora", "gradient_checkpointing": False})
        lora = LoraSection(r=1, lora_alpha=1, target_modules=tuple(modules))
        self._model = build_model(model_dir, train, lora, 0, device).requires_grad_(False).eval()
        self._execution = Execution.prepare(self._model, train, device, replaces_head=True)
        self._model.to(device)
        named = get_causal_lm(self._model).named_modules()
        self._layers: dict[str, Any] = {name: module for name, module in named if isinstance(module, LoraLayer)}

    def measure(self, updates: Iterable[tuple[str, Update]], eval_set: EvalSet) -> dict[str, float | None]:
        """Return task -> mean loss per answer token of the base with updates of some of its layers, the others as
        they are; None stands for a loss that is no number.

        Args:
            updates: Module and its update.
            eval_set: The rows.

        Raises:
            KeyError: if an update is of a layer that the scorer has no room for.
        """
        self._put(updates)
        sums = torch.zeros(2, len(eval_set.tasks), dtype=torch.float64, device=self._device)
        packs = (
            eval_set.packs if self._execution.is_packed else [one for pack in eval_set.packs for one in pack.split()]
        )
        with torch.inference_mode(), self._autocast():
            for pack in packs:
                losses, rows = answer_losses(self._model, pack, self._execution.attention, self._device)
                sums += sum_by_task(losses, rows, pack, eval_set.tasks)
        means = average(sums, eval_set.tasks)
        return {task: loss if math.isfinite(loss) else None for task, loss in means.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_autocast)

    def _put(self, updates: Iterable[tuple[str, Update]]) -> None:
        """Put each layer's update, of any rank, in the place of the one before."""
        left = set(self._layers)
        for name, (down, up) in updates:
            self._fill(self._layers[name], down, up)
            left.discard(name)
        for name in left:
            layer = self._layers[name]
            self._fill(layer, torch.zeros(1, layer.in_features), torch.zeros(layer.out_features, 1))

    def _fill(self, layer: Any, down: Tensor, up: Tensor) -> None:
        """The product is computed in the dtype of the layer's weight, so the factors are kept in it."""
        kind = layer.get_base_layer().weight.dtype
        for factors, weight in ((layer.lora_A, down), (layer.lora_B, up)):
            factors[ADAPTER].weight.data = weight.to(self._device, kind).contiguous()
