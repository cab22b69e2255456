"""What every training worker does: its share of each global batch, one summed gradient, one step."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import ray
import ray.train
import torch

from eshop_ray.config import LearningSection, LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage
from eshop_ray.training.checkpoint import CHECKPOINTS, collect_state, load_checkpoint, open_intact, save_checkpoint
from eshop_ray.training.distilling.target_store import TargetStore
from eshop_ray.training.feed import Feed, Microbatches, build_held_out_packs, iterate_microbatches
from eshop_ray.training.history import HeldOut, Progress
from eshop_ray.training.learner import NotFiniteError, build_learner
from eshop_ray.training.learning_rate import cosine_rate
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.prepared_run import FAILURE
from eshop_ray.training.sampler import BatchSampler
from eshop_ray.training.tokens import TokenStore

logger = logging.getLogger(__name__)


def train_worker(settings: Mapping[str, Any]) -> None:
    """Run on each worker of Ray Train.

    Args:
        settings: `model_dir`, `workdir`, `feed`, `seed`, the sections `train` and `lora` of the config, `targets` of a
            teacher or None, and `board`, to which progress is added.
    """
    train = TrainSection(**settings["train"])
    device = set_up_device(train, ray.train.get_context().get_world_size())
    lora = LoraSection(**settings["lora"])
    try:
        place = settings["targets"]
        targets = place and TargetStore.open(place, train.teacher_share)
        learner = build_learner(Path(settings["model_dir"]), train, lora, settings["seed"], device, targets)
    except UserError as error:
        leave_word(settings["workdir"], str(error))
        return
    learn(settings, learner)


class Learning(Protocol):
    """A model and how it learns."""

    @property
    def model(self) -> Any:
        """What is trained."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Over its weights."""

    @property
    def train(self) -> LearningSection:
        """Rates, and when to write checkpoints."""

    @property
    def is_packed(self) -> bool:
        """Whether several rows share a pass."""

    def build_pack(self, store: TokenStore, sampler: BatchSampler, rows: Ints) -> Any:
        """Return rows of the store as `step` and `measure` take them."""

    def step(self, share: Microbatches, rate: float) -> float:
        """Make one optimizer step and return the weighted mean loss of the global batch.

        Raises:
            NotFiniteError: on every worker, before the weights change.
        """

    def measure(self, packs: Sequence[Any], tasks: Sequence[str]) -> dict[str, float]:
        """Return the mean loss of each task over all workers' packs."""

    def save(self, weights: Mapping[str, Any], model: Any, folder: Path) -> None:
        """Write trained weights in their final format."""


def learn(settings: Mapping[str, Any], learner: Learning) -> None:
    """Make every step of a run that is left, from its last checkpoint on.

    Args:
        settings: `workdir`, `feed`, `seed` and `board`.
        learner: This worker's.
    """
    feed: Feed = settings["feed"]
    sampler: BatchSampler = ray.get(feed.sampler)
    progress = _restore(learner, settings["workdir"])
    progress.is_packed = learner.is_packed
    run = _Run(settings, sampler, learner, progress, _EvalSet.build(feed, sampler, learner))
    try:
        run.learn(feed)
    except NotFiniteError as error:
        run.stop(error)


@dataclass(frozen=True, slots=True)
class _EvalSet:
    """The held-out packs that are for this worker to measure."""

    packs: list[Any]
    tasks: list[str]

    @classmethod
    def build(cls, feed: Feed, sampler: BatchSampler, learner: Learning) -> "_EvalSet":
        store = TokenStore.open(feed.folder)
        context = ray.train.get_context()
        rank, world_size = context.get_world_rank(), context.get_world_size()
        packs = build_held_out_packs(store, sampler, sampler.pack_length, rank, world_size, learner.build_pack)
        return cls(packs, sorted({str(task) for task in store.tasks[sampler.held_out]}))


@dataclass(slots=True)
class _Run:
    """One worker's way through the sampler."""

    settings: Mapping[str, Any]
    sampler: BatchSampler
    learner: Learning
    progress: Progress
    eval_set: _EvalSet

    def learn(self, feed: Feed) -> None:
        """Make every step that is left; report at the checkpoints."""
        train, num_steps, num_reported = self.learner.train, self.sampler.num_steps, self.progress.step
        started = time.monotonic() - self.progress.seconds
        self._count(sum(len(self.sampler.pick_rows(step)) for step in range(self.progress.step)), 0)
        if not self.progress.step:
            self._examine()
        for share in iterate_microbatches(feed, self.progress.step, self.learner.build_pack):
            rate = cosine_rate(share.step, num_steps, train.learning_rate, train.warmup_share)
            torch.manual_seed(hash((self.settings["seed"], share.step, self._rank)))
            self.progress.losses.append(self.learner.step(share, rate))
            self.progress.step = share.step + 1
            self._count(share.num_rows, share.num_tokens)
            if self.progress.step % train.checkpoint_steps == 0 or self.progress.step == num_steps:
                self._examine()
                self.progress.seconds = time.monotonic() - started
                self._report(rate, num_reported)
                num_reported = self.progress.step

    def stop(self, error: NotFiniteError) -> None:
        """Leave word of what happened for the driver."""
        message = (
            f"step {self.progress.step + 1} of {self.sampler.num_steps}: the loss or its gradient is not finite, rows "
            f"{error}. The checkpoints before it are kept; look at these rows, or lower "
            f"`{self.settings.get('section', 'train')}.learning_rate`"
        )
        leave_word(self.settings["workdir"], message)

    @property
    def _rank(self) -> int:
        return int(ray.train.get_context().get_world_rank())

    def _count(self, num_rows: int, num_tokens: int) -> None:
        if self.settings["board"] and self._rank == 0:
            self.settings["board"].add.remote(rows=num_rows, tokens=num_tokens)

    def _examine(self) -> None:
        if self.eval_set.tasks:
            losses = self.learner.measure(self.eval_set.packs, self.eval_set.tasks)
            self.progress.held_out.append(HeldOut(self.progress.step, losses, sum(losses.values()) / len(losses)))

    def _report(self, rate: float, num_reported: int) -> None:
        """Tell Ray Train where the run stands; every worker calls this, and all call it the same number of times.

        Only at checkpoints: a report waits until the controller has fetched the one before, every two seconds at
        best, and on a GPU a step takes a fraction of that.
        """
        losses = self.progress.losses
        metrics: dict[str, Any] = {
            "step": self.progress.step,
            "loss": losses[-1],
            "learning_rate": rate,
            "num_workers": ray.train.get_context().get_world_size(),
            "losses": [[step, losses[step - 1]] for step in range(num_reported + 1, self.progress.step + 1)],
        }
        if self.eval_set.tasks:
            latest = self.progress.held_out[-1]
            metrics |= {"held_out_loss": latest.mean, "held_out": latest.losses}
        state = collect_state(self.learner.model, self.learner.optimizer)
        if self._rank:
            ray.train.report(metrics)
            return
        with TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), self.learner.model, state, self.progress, self.learner.save)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def leave_word(workdir: str, message: str) -> None:
    """Leave word for the driver of why a run stops: trying again would not help, so no worker fails over it."""
    logger.error(message)
    if ray.train.get_context().get_world_rank() == 0:
        Storage(workdir).write(FAILURE, message.encode())


def set_up_device(train: LearningSection, world_size: int) -> torch.device:
    """Return where this worker computes, its threads settled."""
    if train.use_gpu:
        import ray.train.torch

        device: torch.device = ray.train.torch.get_device()
        return device
    torch.set_num_threads(train.torch_threads or max(1, (os.cpu_count() or 1) // world_size))
    return torch.device("cpu")


def _restore(learner: Learning, workdir: str) -> Progress:
    if ray.train.get_checkpoint() is None:
        return Progress()
    with open_intact(Storage(workdir).below(CHECKPOINTS)) as folder:
        if folder is None:
            return Progress()
        progress = load_checkpoint(folder, learner.model, learner.optimizer)
    logger.info("going on from the checkpoint at step %d", progress.step)
    return progress
