"""What a training run works on: its token rows and its sampler, made once and kept through every restart."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from eshop_ray.artifacts import fetch, find_complete, remove, share_folder
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_training
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError
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
            records = read_training(config)
            shared = share_folder(model_dir, config.run_dir)
            tokens = add_tokens(add_prompts(records), shared, config.train.max_row_length)
            store = write_tokens(tokens, folder / TOKENS)
        remove(folder / FAILURE)
        sampler = build_sampler(store, config.train, config.seed)
        _check_rows(config, store, sampler)
        return cls(folder, store, sampler)


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
