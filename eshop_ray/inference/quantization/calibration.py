"""The rows that a model is calibrated on: the run's own prompts with their gold answers, as training sees them."""

import logging
from pathlib import Path

from eshop_ray.artifacts import share_folder
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_split
from eshop_ray.data.tokenization import add_tokens
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

SPLIT = "train"


def read_calibration(config: Config, model_dir: Path) -> list[list[int]]:
    """Return the token ids of the calibration rows, ordered by task and id.

    Args:
        config: `quantize.num_calibration_rows` are taken, in equal parts from every task, at least one of each; a
            task that has fewer gives what it has. `train.max_row_length` cuts them.
        model_dir: Folder whose tokenizer and chat template apply.

    Raises:
        UserError: if there are no training rows, or none that can be used.
    """
    tasks = list_calibration_tasks(config)
    max_rows = max(1, config.quantize.num_calibration_rows // max(1, len(tasks)))
    records = read_split(config.records_dir, SPLIT, tasks, max_rows)
    found = add_tokens(
        add_prompts(records), share_folder(model_dir, config.run_dir), config.train.max_row_length
    ).take_all()
    usable = sorted((row for row in found if not row["error"]), key=lambda row: (row["task"], row["id"]))
    if not usable:
        raise UserError(
            f"none of {len(found)} training rows can be used for calibration; raise `train.max_row_length`, now "
            f"{config.train.max_row_length}, or look at the records"
        )
    if len(usable) < len(found):
        logger.warning("left out of the calibration: %d rows with errors or too long", len(found) - len(usable))
    return [[*row["prompt_ids"], *row["answer_ids"]] for row in usable]


def list_calibration_tasks(config: Config) -> tuple[str, ...]:
    """Return the run's tasks that have training rows.

    Raises:
        UserError: if the training rows are those that are scored.
    """
    if config.evaluate.split == SPLIT:
        raise UserError(
            f"`evaluate.split` is `{SPLIT}`, whose rows the model would be calibrated on; choose another, or a "
            "`quantize.scheme` without calibration: w8a8, fp8"
        )
    found = {folder.parent.name.removeprefix("task=") for folder in config.records_dir.glob(f"task=*/split={SPLIT}")}
    return tuple(sorted(found & set(config.data.tasks) if config.data.tasks else found))
