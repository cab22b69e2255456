"""Bulk inference: records -> prompts -> answers -> predictions, all tasks of a run in one engine load."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
from ray.data import Dataset

from eshop_ray.artifacts import fingerprint, stage_dir, write_manifest
from eshop_ray.config import Config
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import read_split
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.dispatch.stage import CALLS_PER_BLOCK, user_errors
from eshop_ray.progress import watch
from eshop_ray.schema import PREDICTION_SCHEMA, encode
from eshop_ray.tasks import get_task, list_tasks

NOT_IN_ANSWERS = {
    *("models", "batch_size", "concurrency", "max_concurrent_batches", "timeout_seconds", "max_retries"),
    *("cpu_kvcache_gib", "cpu_threads", "compile"),
}
"""Settings of `infer` that no prediction depends on."""

BATCHING = {"max_num_seqs", "max_num_batched_tokens"}
"""And those of its `engine_kwargs`."""


def fingerprint_inference(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the predictions."""
    infer = config.infer.model_dump(exclude=NOT_IN_ANSWERS)
    infer["engine_kwargs"] = {key: value for key, value in infer["engine_kwargs"].items() if key not in BATCHING}
    versions = {name: get_task(name).version for name in config.data.tasks or list_tasks()}
    return fingerprint([infer, config.evaluate.split, versions, records_digest, model_digest])


def infer_split(
    config: Config, model_dir: Path, predictions_dir: Path, inputs: str, parents: Mapping[str, str]
) -> dict[str, int]:
    """Answer `evaluate.split` with one model, write `predictions_dir` and return what was counted.

    Every record of the split ends as one row of `PREDICTION_SCHEMA`, a failed one with its `error`.
    """
    split = config.evaluate.split
    records = read_split(config.records_dir, split, config.data.tasks, config.infer.max_rows).materialize()
    num_rows = records.count()
    engine = build_engine(config.infer, model_dir, num_rows=num_rows)
    with (
        user_errors(),
        watch(f"answering {split} with {model_dir.name}", num_rows) as board,
        stage_dir(predictions_dir) as folder,
    ):
        blocks = records.repartition(target_num_rows_per_block=CALLS_PER_BLOCK * config.infer.batch_size)
        prompts = add_prompts(blocks, config.infer.temperature, config.infer.constrained)
        add_predictions(engine(prompts), board).write_parquet(str(folder), min_rows_per_file=100_000)
        counts = count_outcomes(folder)
        details = {"split": split, "engine": config.infer.engine, "model_dir": str(model_dir), **counts}
        write_manifest(folder, "predictions", inputs, parents, details)
    return counts


def add_predictions(answers: Dataset, board: Any) -> Dataset:
    """Parse the answers.

    Args:
        answers: What an engine returns.
        board: Where progress is added.

    Returns:
        Columns of `PREDICTION_SCHEMA`.
    """

    def predict_batch(batch: pa.Table) -> pa.Table:
        rows = [predict(row) for row in batch.to_pylist()]
        board.add.remote(
            rows=len(rows),
            tokens=sum((row["num_input_tokens"] or 0) + (row["num_generated_tokens"] or 0) for row in rows),
            errors=sum(row["error"] is not None for row in rows),
        )
        return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)

    return answers.map_batches(predict_batch, batch_format="pyarrow", batch_size=None)


def predict(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of `PREDICTION_SCHEMA`; an answer that breaks the parser becomes the row's error."""
    predicted = {**row, "prediction": None}
    if row["error"] is None:
        try:
            predicted["prediction"] = encode(get_task(row["task"]).parse(row["generated_text"]))
        except Exception as error:  # a parser that breaks on one answer must not end the run
            predicted["error"] = f"parse: {type(error).__name__}: {error}"
    return predicted


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
