"""One LoRA run: records -> token rows -> Ray Train -> adapter directory."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from eshop_ray.artifacts import fingerprint, stage_dir, write_json, write_manifest
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_split
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError
from eshop_ray.progress import watch
from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.training.checkpoint import ADAPTER, STATE
from eshop_ray.training.loop import read_token_rows, train_worker

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""Environment of CPU workers. Ray Train runs the loop in a thread, and outside the main thread glibc hands every
freed activation back to the kernel and faults it in again for the next: that cost a third of the throughput."""


def fingerprint_training(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the adapter."""
    train = config.train.model_dump(exclude={"checkpoint_steps", "max_failures", "torch_threads", "cpus_per_worker"})
    versions = {name: get_task(name).version for name in config.data.tasks or list_tasks()}
    return fingerprint([train, config.lora.model_dump(), config.seed, versions, records_digest, model_digest])


def train_adapter(config: Config, model_dir: Path, inputs: str, parents: Mapping[str, str]) -> dict[str, Any]:
    """Train the adapter into `run_dir/adapter` and return what was counted.

    A run that was cut off goes on from its last checkpoint: checkpoints stand under `run_dir/training/INPUTS`, so
    settings or data that changed start anew.

    Raises:
        UserError: if there is no row to learn from.
    """
    workdir = config.run_dir / "training" / inputs[:16]
    counts = write_tokens(config, model_dir, workdir / "tokens")
    with watch("training", counts["num_rows"] * config.train.num_epochs) as board:
        result = build_trainer(config, model_dir, workdir, board).fit()
    with result.checkpoint.as_directory() as checkpoint, stage_dir(config.run_dir / "adapter") as folder:
        losses = torch.load(Path(checkpoint) / STATE, weights_only=True)["losses"]
        shutil.copytree(Path(checkpoint) / ADAPTER, folder, dirs_exist_ok=True)
        summary = {**counts, "num_steps": len(losses), "first_loss": losses[0], "final_loss": fmean(losses[-10:])}
        write_json(folder / "losses.json", losses)
        write_manifest(folder, "adapter", inputs, parents, summary)
    return summary


def write_tokens(config: Config, model_dir: Path, folder: Path) -> dict[str, int]:
    """Tokenise the training split into `folder` and count the rows that fail or do not fit: they are left out."""
    records = read_split(config.run_dir, "train", config.data.tasks, config.train.max_train_rows)
    shutil.rmtree(folder, ignore_errors=True)
    add_tokens(add_prompts(records), model_dir).write_parquet(str(folder))
    rows = read_token_rows(folder, config.train.max_row_length)
    if not rows:
        raise UserError("no training row can be used; raise `train.max_row_length` or look at the records")
    errors = pq.read_table(folder, columns=["error"])["error"]
    num_errors = len(errors) - errors.null_count
    return {
        "num_rows": len(rows),
        "num_errors": num_errors,
        "num_too_long": len(errors) - num_errors - len(rows),
        "num_answer_tokens": sum(len(row.answer_ids) for row in rows),
    }


def build_trainer(config: Config, model_dir: Path, workdir: Path, board: Any) -> TorchTrainer:
    """Describe the run to Ray Train: the same name and folder make it go on from its last checkpoint."""
    train = config.train
    return TorchTrainer(
        train_worker,
        train_loop_config={
            "model_dir": str(model_dir),
            "tokens_dir": str(workdir / "tokens"),
            "seed": config.seed,
            "train": train.model_dump(),
            "lora": config.lora.model_dump(),
            "board": board,
        },
        torch_config=TorchConfig(backend="nccl" if train.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=train.num_workers,
            use_gpu=train.use_gpu,
            resources_per_worker={"CPU": train.cpus_per_worker, **({"GPU": 1} if train.use_gpu else {})},
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(workdir),
            failure_config=FailureConfig(max_failures=train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            worker_runtime_env={} if train.use_gpu else {"env_vars": KEEP_MEMORY},
        ),
    )
