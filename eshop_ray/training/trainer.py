"""One training run: records -> token rows -> sampler -> Ray Train -> adapter directory."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from eshop_ray.artifacts import (
    SharedFolder,
    fingerprint,
    read_text,
    share_folder,
    share_stored,
    stage_dir,
    write_json,
    write_manifest,
)
from eshop_ray.cluster import cpu_environment
from eshop_ray.config import Config, LearningSection
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.splits import list_groups, list_split_tasks
from eshop_ray.data.template_gap import check_template
from eshop_ray.errors import UserError
from eshop_ray.models.switched import name_weights
from eshop_ray.places import place_of, uri_of
from eshop_ray.progress import watch_workers
from eshop_ray.storage import arrow_filesystem
from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.training.adapter import digest_initial, find_initial
from eshop_ray.training.base_model import check_parts
from eshop_ray.training.checkpoint import ADAPTER, CHECKPOINTS, read_progress
from eshop_ray.training.distilling.parents import PLACES, TEACHING, describe_teaching
from eshop_ray.training.distilling.teacher import check_teacher
from eshop_ray.training.feed import Feed, PackFeed
from eshop_ray.training.history import Progress
from eshop_ray.training.learning_rate import cosine_rate
from eshop_ray.training.loop import train_worker
from eshop_ray.training.model import check_method
from eshop_ray.training.precision import choose_precision
from eshop_ray.training.prepared_run import FAILURE, PreparedRun
from eshop_ray.training.tracking import MlflowCallback, check_tracking

HISTORY = "training.json"
"""Beside what was trained: how it came about."""

ELSEWHERE = {"max_failures", "torch_threads", "cpus_per_worker", "num_workers", "use_gpu", "sharding", "attention"}
"""Settings that decide where and how fast training runs; its numbers stay the same but for rounding."""
STARTING = {"freeze_a", "orthogonal"}
"""Fields of the section `lora` that count where they are set: an adapter without them is what it was before."""
MEMORY = {"gradient_checkpointing", "pack_length"}
"""The same of settings that trade memory for time."""


def fingerprint_training(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the adapter.

    A run that is submitted again on other machines goes on from its checkpoints.
    """
    unimportant = ELSEWHERE | MEMORY | PLACES | TEACHING
    if not config.train.num_held_out:
        unimportant |= {"checkpoint_steps"}
    train = {**config.train.model_dump(exclude=unimportant), "max_train_rows": config.data.max_train_rows}
    start = {name: value for name, value in config.lora.model_dump(include=STARTING).items() if value}
    lora = {**config.lora.model_dump(exclude=STARTING), "init_from": digest_initial(config.lora), **start}
    versions = {name: get_task(name).version for name in config.data.tasks or list_tasks()}
    groups = [list(config.data.groups)] if config.data.groups else []
    taught = describe_teaching(config)
    return fingerprint([train, lora, config.seed, versions, records_digest, model_digest, *groups, *taught])


def train_adapter(config: Config, model_dir: Path, inputs: str, parents: Mapping[str, str]) -> dict[str, Any]:
    """Train the adapter into `run_dir/adapter` and return what was counted.

    A run that was cut off goes on from its last checkpoint: checkpoints stand under `run_dir/training/INPUTS`, so
    settings or data that changed start anew.

    Raises:
        UserError: if settings exclude one another, a task has no row to learn from, or the loss is no number any more.
    """
    check_training(config, model_dir)
    prepared = PreparedRun.prepare(config, model_dir, inputs)
    params = {"train": config.train.model_dump(), "lora": config.lora.model_dump()}
    kept = Kept(
        "adapter", config.train, inputs, parents, {"method": config.train.method}, {"trained_on": list_trained(config)}
    )
    with track(config, kept, params) as callbacks, watch_workers("training", prepared.num_rows) as board:
        trainer = build_trainer(config, model_dir, prepared, board, callbacks)
        return fit(trainer, prepared, config.run_dir / "adapter", kept)


def list_trained(config: Config) -> list[str]:
    """Return what a run learns, as updates are named: tasks, or where only some groups are kept, groups of tasks."""
    if not config.data.groups:
        return list(list_split_tasks(config.records_dir, TRAIN, config.data.tasks))
    return [name_weights(task, group) for task, group in _list_learned(config)]


def _list_learned(config: Config) -> list[tuple[str, str]]:
    found = list_groups(config.records_dir, TRAIN, config.data.tasks)
    return [(task, group) for task, group in found if not config.data.groups or group in config.data.groups]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a model before it is trained, and stands in its manifest afterwards."""

    kind: str
    """Of the artifact."""
    train: LearningSection
    inputs: str
    """Digest of all that determines it."""
    parents: Mapping[str, str]
    history: Mapping[str, Any]
    """What its history says first."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Of the manifest, beside what was counted."""


def fit(trainer: TorchTrainer, prepared: PreparedRun, folder: Path, kept: Kept) -> dict[str, Any]:
    """Train, put the best checkpoint's model into a folder, sealed, and return what was counted.

    Raises:
        UserError: if a worker has left word of why it cannot go on.
    """
    result = trainer.fit()
    with suppress(FileNotFoundError):
        raise UserError(read_text(prepared.folder / FAILURE))
    best = _choose(result, bool(len(prepared.sampler.held_out)))
    with result.checkpoint.as_directory() as last:
        progress = read_progress(Path(last))
    with stage_dir(folder) as staged, best.as_directory() as chosen:
        shutil.copytree(Path(chosen) / ADAPTER, staged, dirs_exist_ok=True)
        summary = _write_history(staged, kept, prepared, read_progress(Path(chosen)).step, progress)
        write_manifest(staged, kept.kind, kept.inputs, kept.parents, {**summary, **kept.details})
    return summary


def check_training(config: Config, model_dir: Path) -> None:
    """Refuse what cannot be trained before anything is loaded.

    Raises:
        UserError: naming the setting.
    """
    check_weights(config.train, "train")
    check_method(config.train, config.lora, model_dir)
    check_parts(model_dir, config.train.max_row_length, config.train.attention)
    if config.train.teacher:
        check_teacher(config, model_dir, _list_learned(config))
    check_template(model_dir, [get_task(name) for name in config.data.tasks or list_tasks()])
    check_tracking(config.tracking)


def check_weights(train: LearningSection, section: str) -> None:
    """Raise `UserError` if a section gives a weight to what is no task."""
    unknown = sorted(set(train.task_weights) - set(list_tasks()))
    if unknown:
        raise UserError(
            f"`{section}.task_weights`: no task {', '.join(unknown)}; choose from {', '.join(list_tasks())}"
        )


@contextmanager
def track(config: Config, kept: Kept, sections: Mapping[str, Any]) -> Iterator[list[MlflowCallback]]:
    """Yield what follows the run for `tracking.uri`, and tell it in the end how the run went."""
    if not config.tracking.uri:
        yield []
        return
    params = {**sections, "seed": config.seed, "digest": dict(kept.parents)}
    callback = MlflowCallback(config.tracking, config.name, kept.inputs, params)
    try:
        yield [callback]
    except BaseException:
        callback.finish("FAILED")
        raise
    callback.finish()


def build_trainer(
    config: Config, model_dir: Path, prepared: PreparedRun, board: Any, callbacks: Sequence[MlflowCallback] = ()
) -> TorchTrainer:
    """Describe the run to Ray Train: the same name and folder make it go on from its last checkpoint."""
    train = choose_precision(config.train)
    workdir = place_of(prepared.folder)
    feed = Feed(share_stored(prepared.store.folder), workdir, ray.put(prepared.sampler))
    settings = {
        "model_dir": share_folder(model_dir, config.run_dir),
        "workdir": workdir,
        "feed": feed,
        "seed": config.seed,
        "train": train.model_dump(),
        "lora": _anchor(config),
        "targets": prepared.targets,
        "board": board,
    }
    return describe_trainer(train_worker, settings, train, prepared, callbacks)


def describe_trainer(
    worker: Callable[[Mapping[str, Any]], None],
    settings: Mapping[str, Any],
    train: LearningSection,
    prepared: PreparedRun,
    callbacks: Sequence[MlflowCallback],
) -> TorchTrainer:
    """Describe a run to Ray Train.

    Args:
        worker: What each worker does.
        settings: What it is given, its `feed` among them.
        train: Workers and their machines.
        prepared: The run's rows.
        callbacks: That follow the run.
    """
    feed: Feed = settings["feed"]
    return TorchTrainer(
        worker,
        train_loop_config=dict(settings),
        datasets=PackFeed.stand_in(),
        dataset_config=PackFeed(feed),
        torch_config=TorchConfig(backend="nccl" if train.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=train.num_workers,
            use_gpu=train.use_gpu,
            resources_per_worker={"CPU": train.cpus_per_worker, **({"GPU": 1} if train.use_gpu else {})},
        ),
        run_config=_build_run_config(train, prepared, callbacks),
    )


def _anchor(config: Config) -> dict[str, Any]:
    """Return the section `lora` for workers, which run in folders of their own."""
    shared = share_folder(find_initial(config.lora), config.run_dir) if config.lora.init_from else None
    place = shared.uri if isinstance(shared, SharedFolder) else shared and str(shared)
    return {**config.lora.model_dump(), "init_from": place}


def _build_run_config(train: LearningSection, prepared: PreparedRun, callbacks: Sequence[MlflowCallback]) -> RunConfig:
    has_held_out = bool(len(prepared.sampler.held_out))
    best = {"checkpoint_score_attribute": "held_out_loss", "checkpoint_score_order": "min"} if has_held_out else {}
    filesystem, path = arrow_filesystem(place_of(prepared.folder))
    return RunConfig(
        name=CHECKPOINTS,
        storage_path=path,
        storage_filesystem=filesystem if uri_of(prepared.folder) else None,
        failure_config=FailureConfig(max_failures=train.max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=2, **best),
        worker_runtime_env={} if train.use_gpu else {"env_vars": cpu_environment()},
        callbacks=list(callbacks),
    )


def _choose(result: ray.train.Result, has_held_out: bool) -> ray.train.Checkpoint:
    """Return the checkpoint with the lowest held-out loss, the last one where nothing is held out."""
    best = result.get_best_checkpoint("held_out_loss", "min") if has_held_out else None
    return best or result.checkpoint


def _write_history(
    folder: Path, kept: Kept, prepared: PreparedRun, best_step: int, progress: Progress
) -> dict[str, Any]:
    """Write how the model came about and return the figures of it that a person asks for first."""
    losses, num_steps = progress.losses, prepared.sampler.num_steps
    counts = {
        "num_rows": prepared.sampler.num_rows,
        "num_held_out": len(prepared.sampler.held_out),
        "num_errors": prepared.store.num_errors,
        "num_too_long": prepared.store.num_too_long,
        "num_unanswered": prepared.store.num_unanswered,
        "num_cut": prepared.store.num_cut,
        "num_answer_tokens": int(prepared.store.num_answer[prepared.sampler.rows].sum()),
        "num_steps": num_steps,
        "best_step": best_step,
    }
    train = kept.train
    history = {
        **counts,
        **kept.history,
        "packed": progress.is_packed,
        "num_epochs": train.num_epochs,
        "seconds": round(progress.seconds, 3),
        "learning_rates": [
            cosine_rate(step, num_steps, train.learning_rate, train.warmup_share) for step in range(num_steps)
        ],
        "losses": losses,
        "held_out": [asdict(measured) for measured in progress.held_out],
    }
    write_json(folder / HISTORY, history)
    return {**counts, "first_loss": losses[0], "final_loss": fmean(losses[-10:])}
