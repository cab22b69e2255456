"""What the training of a conventional model works on: its heads, its rows and their order."""

import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eshop_ray.artifacts import fetch, find_complete, read_text, remove, share_folder, write_json
from eshop_ray.config import Config, ConventionalSection
from eshop_ray.data.conventional import count_labels
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_training
from eshop_ray.errors import UserError
from eshop_ray.models.conventional import HeadSpec, Spec
from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.training.conventional.rows import add_rows
from eshop_ray.training.packing.prefixes import Prefixes
from eshop_ray.training.prepared_run import FAILURE, PreparedRun
from eshop_ray.training.sampler import BatchSampler, hold_out
from eshop_ray.training.tokens import TOKENS, TokenStore, write_tokens

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

LABELS = "labels.json"
"""In the working folder: what each head tells apart."""
TOKENS_PER_DEAL = 4096
"""Rows are dealt to workers in parts of about so many tokens."""


def check_tasks(architecture: str, tasks: tuple[str, ...]) -> None:
    """Refuse tasks that a model cannot answer.

    Raises:
        UserError: naming the tasks, and the architectures that can.
    """
    written = [name for name in tasks if not get_task(name).heads]
    if architecture == "encoder" and written:
        able = ", ".join(name for name in list_tasks() if get_task(name).heads)
        raise UserError(
            f"`conventional.architecture: encoder` does not write, and answers of {', '.join(written)} have to be "
            f"written; set it to `seq2seq` or `causal`, or name in `data.tasks` some of {able}"
        )


def prepare(config: Config, model_dir: Path, spec: Spec, inputs: str) -> tuple[PreparedRun, Spec]:
    """Encode the training split, unless an earlier attempt has, and settle what every step consists of.

    Args:
        config: Of the run.
        model_dir: What the model starts from.
        spec: What it will be, yet without heads.
        inputs: Digest of all that determines the model.

    Returns:
        The run's rows, and the model's description with its heads.

    Raises:
        UserError: if a task has no row to learn from.
    """
    folder = config.run_dir / "training" / inputs[:16]
    manifest = find_complete(folder / TOKENS)
    if manifest is not None:
        fetch(folder / TOKENS, manifest)
        spec = _read_heads(folder, spec)
        store = TokenStore.open(folder / TOKENS)
    else:
        prompts = add_prompts(read_training(config)).materialize()
        labels = count_labels(prompts) if spec.architecture == "encoder" else {}
        write_json(folder / LABELS, [[*key, sorted(names)] for key, names in sorted(labels.items())])
        spec = _read_heads(folder, spec)
        store = write_tokens(add_rows(prompts, share_folder(model_dir, config.run_dir), spec), folder / TOKENS)
    remove(folder / FAILURE)
    sampler = build_sampler(store, config.conventional, config.seed)
    _check_rows(config, store, sampler)
    return PreparedRun(folder, store, sampler), replace(spec, tasks=tuple(sorted({str(one) for one in store.tasks})))


def build_sampler(store: TokenStore, train: ConventionalSection, seed: int) -> BatchSampler:
    """Settle which rows are held out and in which order the others are learned; every row counts the same."""
    held_out = hold_out(store, train.num_held_out, seed)
    numbers = np.arange(len(store))
    return BatchSampler(
        rows=np.setdiff1d(numbers, held_out),
        held_out=held_out,
        prefixes=Prefixes(groups=numbers, lengths=np.zeros(len(store), np.int64)),
        num_prompt=store.num_prompt,
        num_answer=store.num_answer,
        num_epochs=train.num_epochs,
        global_batch_size=train.global_batch_size,
        pack_length=TOKENS_PER_DEAL,
        loss_weighting="row",
        task_weights=np.array([train.task_weights.get(str(task), 1.0) for task in store.tasks]),
        seed=seed,
    )


def _read_heads(folder: Path, spec: Spec) -> Spec:
    content = json.loads(read_text(folder / LABELS))
    heads = (HeadSpec(f"{task}_{kind}", task, kind, tuple(names)) for task, kind, names in content)
    return replace(spec, heads=tuple(heads))


def _check_rows(config: Config, store: TokenStore, sampler: BatchSampler) -> None:
    if store.num_errors or store.num_too_long:
        logger.warning("left out: %d rows with errors, %d too long", store.num_errors, store.num_too_long)
    counts = Counter(str(task) for task in store.tasks[sampler.rows])
    missing = [task for task in config.data.tasks if not counts[task]]
    if missing or not sampler.num_rows:
        raise UserError(
            f"no training row of {', '.join(missing) or 'any task'} can be used; look at the records, raise "
            f"`conventional.max_row_length`, now {config.conventional.max_row_length}, or take the task out of "
            "`data.tasks`"
        )
