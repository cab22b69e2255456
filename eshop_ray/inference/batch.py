"""Bulk inference: records -> prompts -> answers -> predictions, all tasks of a run in one engine load."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from ray.data import Dataset

from eshop_ray.artifacts import (
    find_manifest,
    fingerprint,
    is_current,
    read_complete,
    read_manifest,
    stage_dir,
    write_manifest,
)
from eshop_ray.config import Config
from eshop_ray.data.few_shot.shots import Shots, add_examples, choose_shots, count_examples
from eshop_ray.data.prompts import PromptSettings, add_prompts
from eshop_ray.data.splits import read_split
from eshop_ray.datasets import user_errors
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_identity import identify_answers, identify_examples, identify_task
from eshop_ray.inference.answer_parts import AnswerParts
from eshop_ray.inference.build import build_engine, count_block_rows, use_endpoint
from eshop_ray.inference.context import build_fits
from eshop_ray.inference.dispatch.blocks import CONFIDENCE, ENGINE_SECONDS, SWITCH_SECONDS
from eshop_ray.inference.engines.openai.ledger import Ledger
from eshop_ray.inference.engines.openai.meter import describe
from eshop_ray.inference.reading import read_prediction
from eshop_ray.inference.requests import STOPPED
from eshop_ray.models import Model
from eshop_ray.places import place_of
from eshop_ray.progress import Board, watch
from eshop_ray.reporting.words import count
from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.tasks import get_task, list_tasks

logger = logging.getLogger(__name__)


def fingerprint_inference(config: Config, records_digest: str, model_digest: str) -> str:
    """Return the digest of all that determines the predictions."""
    answers = identify_answers(config.infer, config.serve, model_digest)
    tasks = [identify_task(get_task(name)) for name in config.data.tasks or list_tasks()]
    groups = [list(config.data.groups)] if config.data.groups else []
    inputs = [answers, tasks, config.infer.max_rows, config.evaluate.split, records_digest, *groups]
    return fingerprint([*inputs, *identify_examples(config, records_digest)])


def infer_split(
    config: Config, model: Model, predictions_dir: Path, inputs: str, parents: Mapping[str, str]
) -> dict[str, int]:
    """Answer `evaluate.split` with one model, write `predictions_dir` and return what was counted.

    Every record of the split ends as one row of `PREDICTION_SCHEMA`, a failed one with its `error`. Answers are kept as
    they come: a run that was killed goes on with the same inputs where it was.
    """
    split = config.evaluate.split
    data = config.data
    records = read_split(config.records_dir, split, data.tasks, config.infer.max_rows, groups=data.groups).materialize()
    shots = choose_shots(config) if config.few_shot.num_examples else None
    parts = AnswerParts(predictions_dir, inputs)
    if is_current(predictions_dir, inputs):  # and asked all the same: for its failures
        read_complete(predictions_dir, job="batch_infer")
        parts.take_back(predictions_dir)
    answered = parts.open()
    if answered.num_rows:
        logger.info("%d rows of %s are answered already; going on from there", answered.num_rows, split)
        records = leave_out(records, answered).materialize()
    details: dict[str, Any] = {"split": split, "engine": config.infer.engine, "model_dir": name_model(config, model)}
    with use_endpoint(config, predictions_dir, inputs, answered.num_rows > 0) as endpoint:
        if num_rows := records.count():
            shared = model.share(config.run_dir)
            engine = build_engine(config.infer, shared, read_prediction, num_rows, endpoint=endpoint)
            with user_errors(), watch(f"answering {split} with {details['model_dir']}", num_rows) as board:
                blocks = records.repartition(target_num_rows_per_block=count_block_rows(config))
                prompts = add_prompts(blocks, PromptSettings.of(config.infer))
                if shots:
                    prompts = add_examples(prompts, shots, build_fits(config, model.folder))
                keep_answers(engine(prompts), parts, board)
        if endpoint:
            endpoint.check_ended()
            details["spending"] = describe(endpoint.read_account())
    with stage_dir(predictions_dir) as folder:
        for number, table in enumerate(parts.read()):
            pq.write_table(table, folder / f"part-{number:05d}.parquet")
        counts = count_outcomes(folder)
        made = find_manifest(model.folder) if model.folder else None
        if made and "pretrained" in made.details:
            details["pretrained"] = made.details["pretrained"]
        if shots:
            details["few_shot"] = describe_shots(config, shots, folder)
        write_manifest(folder, "predictions", inputs, parents, {**details, **counts})
    parts.remove()
    Ledger(predictions_dir, inputs).remove()
    return counts


def check_failures(folder: Path, max_share: float) -> None:
    """Have a job most of whose rows have no answer end as a failure, once everything is written.

    Args:
        folder: Of predictions.
        max_share: Of rows with an `error`.

    Raises:
        UserError: if more rows failed.
    """
    counts = read_manifest(folder, job="batch_infer").details
    num_rows, num_failed = counts["num_rows"], counts["num_errors"]
    if num_failed <= max_share * num_rows:
        return
    read_complete(folder, job="batch_infer")
    reasons: Counter[str] = Counter()
    for batch in pyarrow.dataset.dataset(sorted(map(str, folder.glob("*.parquet")))).to_batches(columns=["error"]):
        reasons.update(str(error).partition(":")[0] for error in batch["error"].drop_null().to_pylist())
    raise UserError(
        f"{num_failed} of {count(num_rows, 'row')} have no answer, more than infer.max_failed_share={max_share:g} "
        f"allows: {', '.join(f'{number} x {reason}' for reason, number in reasons.most_common(5))}; "
        f"column `error` in {place_of(folder)} says why; infer.retry_failed=true asks these rows again"
    )


def name_model(config: Config, model: Model) -> str:
    """Return who answers, for people: a place, or the name of what has none."""
    if model.folder:
        return place_of(model.folder)
    return f"{config.openai.model} at {config.openai.base_url}" if config.infer.engine == "openai" else "simulated"


def describe_shots(config: Config, shots: Shots, folder: Path) -> dict[str, Any]:
    """Return what a manifest says of the examples in prompts, and log how many rows got fewer than they should."""
    found: Counter[int] = Counter()
    for batch in pyarrow.dataset.dataset(folder).to_batches(columns=["messages"]):
        found += count_examples(batch["messages"])
    wanted = config.few_shot.num_examples
    num_fewer = sum(number for examples, number in found.items() if examples < wanted)
    if num_fewer:
        logger.warning(
            "%s with fewer than %d examples: they did not fit into the context, or there are no more training rows",
            count(num_fewer, "row"),
            wanted,
        )
    return {
        **config.few_shot.model_dump(),
        "seed": config.seed,
        "num_rows_by_examples": {str(examples): number for examples, number in sorted(found.items())},
        "num_passed_over": dict(shots.passed_over),
        "notes": shots.notes,
    }


def leave_out(records: Dataset, answered: pa.Table) -> Dataset:
    """Return the records whose `task` and `id` are not among these."""
    keys = pa.array(_join_keys(answered), pa.string())

    def select(batch: pa.Table) -> pa.Table:
        return batch.filter(pc.invert(pc.is_in(pa.array(_join_keys(batch), pa.string()), keys)))

    return records.map_batches(select, batch_format="pyarrow", batch_size=None)


def _join_keys(rows: pa.Table) -> list[str]:
    return [f"{task}/{row_id}" for task, row_id in zip(rows["task"].to_pylist(), rows["id"].to_pylist(), strict=True)]


def keep_answers(answers: Dataset, parts: AnswerParts, board: Board) -> None:
    """Write answers down as they come, until all are; rows that were not asked any more are left out.

    Args:
        answers: What an engine returns.
        parts: Where they are kept.
        board: Where progress is added.
    """

    def keep(batch: pa.Table) -> pa.Table:
        if batch.num_rows:  # Ray may leave out an empty block's columns
            batch = batch.filter(pc.invert(pc.starts_with(pc.fill_null(batch["error"], ""), STOPPED)))
        if batch.num_rows:
            for field in (ENGINE_SECONDS, CONFIDENCE, SWITCH_SECONDS):  # which not every engine knows
                if field.name not in batch.column_names:
                    batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
            parts.write(batch.select(PREDICTION_SCHEMA.names).cast(PREDICTION_SCHEMA))
        return pa.Table.from_pylist([count_block(batch)])

    for counts in answers.map_batches(keep, batch_format="pyarrow", batch_size=None).iter_rows():
        board.add(**counts)


def count_block(answers: pa.Table) -> dict[str, int]:
    """Return the rows of a block, the tokens read and written for them, and how many have an `error`."""
    if not answers.num_rows:
        return {"rows": 0, "tokens": 0, "errors": 0}
    tokens = (pc.sum(answers[name]).as_py() or 0 for name in ("num_input_tokens", "num_generated_tokens"))
    return {"rows": answers.num_rows, "tokens": sum(tokens), "errors": answers.num_rows - answers["error"].null_count}


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
