"""What a training run works on: its token rows and its sampler, made once and kept through every restart."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ray.data import Dataset

from eshop_ray.artifacts import AnyFolder, fetch, find_complete, remove, share_folder
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_training
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError
from eshop_ray.training.distilling.answers import find_answers, take_answers
from eshop_ray.training.distilling.teaching import ask_teacher
from eshop_ray.training.sampler import BatchSampler, build_sampler
from eshop_ray.training.tokens import TOKENS, TokenStore, write_tokens

logger = logging.getLogger(__name__)

FAILURE = "failure.txt"
"""Why a run stopped. Trying again would not help, so no worker may fail over it."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What is prepared once and survives every restart of a run."""

    folder: Path
    """Working folder: tokens, checkpoints, trouble."""
    store: TokenStore
    sampler: BatchSampler
    targets: AnyFolder | None = None
    """What the teacher says of all rows, where there is one."""

    @property
    def num_rows(self) -> int:
        """Rows that are seen, each epoch anew."""
        return self.sampler.num_rows * self.sampler.num_epochs

    @classmethod
    def prepare(cls, config: Config, model_dir: Path, inputs: str) -> "PreparedRun":
        """Tokenise the training split, unless an earlier attempt has, and settle what every step consists of."""
        folder = config.run_dir / "training" / inputs[:16]
        manifest = find_complete(folder / TOKENS)
        if manifest is not None:
            fetch(folder / TOKENS, manifest)
            store = TokenStore.open(folder / TOKENS)
        else:
            shared = share_folder(model_dir, config.run_dir)
            tokens = add_tokens(_read_prompts(config), shared, config.train.max_row_length)
            store = write_tokens(tokens, folder / TOKENS)
        remove(folder / FAILURE)
        sampler = build_sampler(store, config.train, config.seed)
        _check_rows(config, store, sampler)
        targets = ask_teacher(config, model_dir, folder, store, sampler) if config.train.teacher else None
        return cls(folder, store, sampler, targets)


def _read_prompts(config: Config) -> Dataset:
    """Return what is asked, and, with `train.answers`, what is to be answered in the place of the targets."""
    records = read_training(config)
    prompts = add_prompts(records)
    return take_answers(prompts, records, find_answers(config.train.answers)[0]) if config.train.answers else prompts


def _check_rows(config: Config, store: TokenStore, sampler: BatchSampler) -> None:
    counts = Counter(str(task) for task in store.tasks[sampler.rows])
    missing = [task for task in config.data.tasks if not counts[task]]
    if missing or not sampler.num_rows:
        raise UserError(
            f"no training row of {', '.join(missing) or 'any task'} can be used; raise `train.max_row_length`, now "
            f"{config.train.max_row_length}, look at the records, or take the task out of `data.tasks`"
        )
    if store.num_errors or store.num_too_long:
        logger.warning("left out: %d rows with errors, %d too long", store.num_errors, store.num_too_long)
