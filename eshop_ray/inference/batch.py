"""Bulk inference: records -> prompts -> answers -> predictions, all tasks of a run in one engine load."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint, stage_dir, write_manifest
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_split
from eshop_ray.datasets import user_errors
from eshop_ray.inference.answer_identity import identify_answers, identify_task
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK
from eshop_ray.inference.reading import read_prediction
from eshop_ray.progress import watch
from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.tasks import list_tasks


def fingerprint_inference(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the predictions."""
    answers = identify_answers(config.infer, config.serve, model_digest)
    tasks = [identify_task(name) for name in config.data.tasks or list_tasks()]
    return fingerprint([answers, tasks, config.infer.max_rows, config.evaluate.split, records_digest])


def infer_split(
    config: Config, model_dir: Path, predictions_dir: Path, inputs: str, parents: Mapping[str, str]
) -> dict[str, int]:
    """Answer `evaluate.split` with one model, write `predictions_dir` and return what was counted.

    Every record of the split ends as one row of `PREDICTION_SCHEMA`, a failed one with its `error`.
    """
    split = config.evaluate.split
    records = read_split(config.records_dir, split, config.data.tasks, config.infer.max_rows).materialize()
    num_rows = records.count()
    engine = build_engine(config.infer, model_dir, read_prediction, num_rows)
    with (
        user_errors(),
        watch(f"answering {split} with {model_dir.name}", num_rows) as board,
        stage_dir(predictions_dir) as folder,
    ):
        blocks = records.repartition(target_num_rows_per_block=CALLS_PER_BLOCK * config.infer.batch_size)
        prompts = add_prompts(blocks, config.infer.temperature, config.infer.constrained)
        count_progress(engine(prompts), board).write_parquet(str(folder), min_rows_per_file=100_000)
        counts = count_outcomes(folder)
        details = {"split": split, "engine": config.infer.engine, "model_dir": str(model_dir), **counts}
        write_manifest(folder, "predictions", inputs, parents, details)
    return counts


def count_progress(answers: Dataset, board: Any) -> Dataset:
    """Add what was answered to the board.

    Args:
        answers: What an engine returns.
        board: Where progress is added.

    Returns:
        Columns of `PREDICTION_SCHEMA`.
    """

    def count_batch(batch: pa.Table) -> pa.Table:
        if not batch.num_rows:  # Ray may leave out an empty block's columns
            return PREDICTION_SCHEMA.empty_table()
        tokens = (pc.sum(batch[name]).as_py() or 0 for name in ("num_input_tokens", "num_generated_tokens"))
        num_errors = batch.num_rows - batch["error"].null_count
        board.add.remote(rows=batch.num_rows, tokens=sum(tokens), errors=num_errors)
        return batch.select(PREDICTION_SCHEMA.names).cast(PREDICTION_SCHEMA)

    return answers.map_batches(count_batch, batch_format="pyarrow", batch_size=None)


def count_outcomes(folder: Path) -> dict[str, int]:
    """Return rows, failed rows, cut-off answers and tokens of a predictions folder."""
    counts: Counter[str] = Counter(num_rows=0, num_errors=0, num_truncated=0)
    columns = ["error", "finish_reason", "num_input_tokens", "num_generated_tokens"]
    for batch in pyarrow.dataset.dataset(folder).to_batches(columns=columns):
        for row in batch.to_pylist():
            counts["num_rows"] += 1
            counts["num_errors"] += row["error"] is not None
            counts["num_truncated"] += row["finish_reason"] == "length"
            counts["num_input_tokens"] += row["num_input_tokens"] or 0
            counts["num_generated_tokens"] += row["num_generated_tokens"] or 0
    return dict(counts)
