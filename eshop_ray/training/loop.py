"""What every training worker does: its share of each global batch, one summed gradient, one step."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import ray.train
import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from eshop_ray.config import LoraSection, TrainConfig
from eshop_ray.data.packing import TokenRow, build_packs
from eshop_ray.data.tokenization import TOKEN_SCHEMA
from eshop_ray.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.schedule import build_batches, cosine_rate, take_share

logger = logging.getLogger(__name__)


def train_worker(settings: dict[str, Any]) -> None:
    """Run on each worker of Ray Train.

    Args:
        settings: `model_dir`, `tokens_dir`, `seed`, the sections `train` and `lora` of the config, and `board`, to
            which progress is added.
    """
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    train = TrainConfig(**settings["train"])
    device = _set_up_device(train, world_size)
    rows = weigh_rows(read_token_rows(Path(settings["tokens_dir"]), train.max_row_length), train.loss_weighting)
    batches = build_batches(len(rows), train.num_epochs, train.global_batch_size, settings["seed"])
    lora = LoraSection(**settings["lora"])
    model = build_model(Path(settings["model_dir"]), lora, settings["seed"], train.precision).to(device)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
    )
    progress = _restore(model, optimizer)
    board = settings["board"] if rank == 0 else None
    if board:
        board.add.remote(rows=sum(len(batch) for batch in batches[: progress.step]))
    for step in range(progress.step, len(batches)):
        _set_rate(optimizer, cosine_rate(step, len(batches), train.learning_rate, train.warmup_share))
        batch = [rows[index] for index in batches[step]]
        share = [rows[index] for index in take_share(batches[step], rank, world_size)]
        loss = train_step(
            model, optimizer, share, sum(row.weight * len(row.answer_ids) for row in batch), train, device
        )
        progress.step = step + 1
        progress.losses.append(loss)
        if board:
            board.add.remote(rows=len(batch), tokens=sum(len(row) for row in batch))
        if progress.step % train.checkpoint_steps == 0 or progress.step == len(batches):
            report(model, optimizer, progress, has_checkpoint=rank == 0)


def train_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    share: Sequence[TokenRow],
    total_weight: float,
    train: TrainConfig,
    device: torch.device,
) -> float:
    """Make one optimizer step and return the weighted mean loss of the global batch.

    Args:
        model: PEFT model; only the adapter is trained.
        optimizer: Over the adapter.
        share: This worker's rows of the global batch; may be empty in a short last batch.
        total_weight: Weights of all answer tokens of the global batch, by which every loss is divided.
        train: Settings.
        device: Where the model is.
    """
    optimizer.zero_grad()
    total = torch.zeros((), device=device)
    for pack in build_packs(share, train.pack_length):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=train.precision == "bf16"):
            loss = answer_loss(model, pack, device) / total_weight
        loss.backward()
        total += loss.detach()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    sum_gradients(parameters, total)
    torch.nn.utils.clip_grad_norm_(parameters, train.max_grad_norm)
    optimizer.step()
    return float(total)


def sum_gradients(parameters: Sequence[torch.nn.Parameter], total: torch.Tensor) -> None:
    """Add up gradients and loss over all workers in one collective.

    An adapter's gradients are a few megabytes: one flat buffer after the backward passes costs less than hooks that
    overlap them, and workers may differ in how many packs they have, none included.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
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


def build_model(model_dir: Path, lora: LoraSection, seed: int, precision: str = "fp32") -> Any:
    """Return the base model in fp32 with a fresh adapter, the same one for the same seed.

    For `bf16` the frozen projections are stored as autocast would cast them anew in every pass: the same numbers,
    half the memory, no cast.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if precision == "bf16":
        for layer in model.get_decoder().layers.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.to(torch.bfloat16)
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            lora_dropout=lora.lora_dropout,
            target_modules=modules,
            task_type="CAUSAL_LM",
        ),
    )


def report(model: Any, optimizer: torch.optim.Optimizer, progress: Progress, has_checkpoint: bool) -> None:
    """Tell Ray Train where the run stands; every worker calls this, and all call it the same number of times.

    Only at checkpoints: a report waits until the controller has fetched the one before, every two seconds at best,
    and on a GPU a step takes a fraction of that.
    """
    metrics = {"step": progress.step, "loss": progress.losses[-1]}
    if not has_checkpoint:
        ray.train.report(metrics)
        return
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), model, optimizer, progress)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def read_token_rows(folder: Path, max_row_length: int) -> list[TokenRow]:
    """Read the usable rows of `TOKEN_SCHEMA` files, sorted, so that a row's number does not depend on the writer."""
    rows = [
        TokenRow(row["id"], row["task"], row["prompt_ids"], row["answer_ids"])
        for row in pq.read_table(folder, schema=TOKEN_SCHEMA).to_pylist()
        if not row["error"] and len(row["prompt_ids"]) + len(row["answer_ids"]) <= max_row_length
    ]
    return sorted(rows, key=lambda row: (row.task, row.id))


def weigh_rows(rows: Sequence[TokenRow], loss_weighting: str) -> list[TokenRow]:
    """Let every answer token count the same (`token`), or every row (`row`), however long its answer."""
    if loss_weighting == "token":
        return list(rows)
    return [replace(row, weight=1 / len(row.answer_ids)) for row in rows]


def _set_up_device(train: TrainConfig, world_size: int) -> torch.device:
    if train.use_gpu:
        import ray.train.torch

        device: torch.device = ray.train.torch.get_device()
        return device
    torch.set_num_threads(train.torch_threads or max(1, (os.cpu_count() or 1) // world_size))
    return torch.device("cpu")


def _restore(model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        progress = load_checkpoint(Path(folder), model, optimizer)
    logger.info("going on from the checkpoint at step %d", progress.step)
    return progress


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
