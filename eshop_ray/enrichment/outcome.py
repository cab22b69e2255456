"""Answers -> rows of the two tables, and which answers deserve a second try."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from eshop_ray.enrichment.columns import clean_message
from eshop_ray.enrichment.questions import DELETED, EMPTY, ENRICHED, QUARANTINED
from eshop_ray.inference.reading import Reading, read_prediction
from eshop_ray.schema import Row, decode, encode
from eshop_ray.tasks import Task
from eshop_ray.words import join_words

STAGES = {
    "prompt": "prompt",
    "tokenize": "prompt",
    "too_long": "prompt",
    "engine": "engine",
    "engine_killed": "engine",
    "truncated": "answer",
    "reasoning": "answer",
    "unparseable": "answer",
    "parse": "answer",
}
"""Reason code -> stage, for what goes wrong after planning; all else goes wrong while reading."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run writes into each of its rows."""

    run_id: str
    model_digest: str
    now: datetime
    tasks: Mapping[str, Task]
    """What the names in the column `task` stand for."""


def read_strictly(row: Mapping[str, Any], tasks: Mapping[str, Task]) -> Reading:
    """Read an answer for a table that holds no half answers: what is cut off or unreadable is asked again once.

    A truncated answer gets twice the room; one that cannot be read is asked for with `retry_params`.

    Args:
        row: The answer, with the columns of `QUESTION_ROWS`.
        tasks: What the names in `task` stand for.
    """
    if row["finish_reason"] == "length":
        params: Row = decode(row["sampling_params"])
        error = f"truncated: cut off after {row['num_generated_tokens']} tokens, in two tries"
        return Reading(None, error, {**params, "max_tokens": 2 * params["max_tokens"]})
    reading = read_prediction(row, tasks)
    if reading.error is None and reading.prediction == encode(tasks[row["task"]].unparsed):
        reading = Reading(None, "unparseable: no answer could be read, in two tries")
    return replace(reading, retry_params=decode(row["retry_params"])) if reading.error else reading


def split_error(error: str) -> tuple[str, str]:
    """Return reason code and message of a row's `error`."""
    reason, _, message = error.partition(": ")
    return (reason, message) if reason in STAGES else ("engine", error)


def enriched_row(target: Mapping[str, Any], task: str, key: str, run_info: RunInfo, **values: Any) -> Row:
    """Return a row of `ENRICHED_RESULTS` that no answer stands behind yet."""
    return {
        "product_id": target["product_id"],
        "task": task,
        "key": key,
        "task_version": run_info.tasks[task].version,
        "model_digest": run_info.model_digest,
        "run_id": run_info.run_id,
        "updated_at": run_info.now,
        "reviewers": target["reviewers"],
        "replaces": target["replaces"],
        **values,
    }


def answered_rows(row: Mapping[str, Any], run_info: RunInfo) -> tuple[list[Row], list[Row]]:
    """Return the rows of the enriched table and of the quarantine that an answer makes, one for each target."""
    tokens = {name: row[name] for name in ("num_input_tokens", "num_generated_tokens", "prompt_id")}
    if row["error"] is not None:
        reason, message = split_error(row["error"])
        enriched = [
            enriched_row(target, row["task"], row["id"], run_info, status=QUARANTINED, **tokens)
            for target in row["targets"]
        ]
        bad = [quarantine_row(target, row["task"], row["id"], reason, message, run_info) for target in row["targets"]]
        return enriched, bad
    values = {
        "status": ENRICHED,
        "prediction_key": row["id"],
        "inferred_at": run_info.now,
        "confidence": row.get("confidence"),
        **type_prediction(run_info.tasks[row["task"]], row["prediction"]),
        **tokens,
    }
    return [enriched_row(target, row["task"], row["id"], run_info, **values) for target in row["targets"]], []


def type_prediction(task: Task, prediction: str) -> Row:
    """Return a prediction as JSON text, and in the typed column that its task names."""
    column = task.column
    value = decode(prediction)
    if column == "text":
        return {"prediction": prediction, "text": _to_utf8(value)}
    if column == "entities":
        pairs = ((text, kind) for kind, text in value.items() if text) if isinstance(value, dict) else value
        entities = [{"text": _to_utf8(join_words(text)), "type": _to_utf8(kind)} for text, kind in pairs if kind != "O"]
        return {"prediction": prediction, "entities": entities}
    return {"prediction": prediction}


def _to_utf8(text: str) -> str:
    """Return a text without half characters, which Arrow refuses."""
    return text.encode("utf-8", "replace").decode()


def resolved_rows(
    row: Mapping[str, Any], copied: Mapping[str, Any] | None, run_info: RunInfo
) -> tuple[list[Row], list[Row]]:
    """Return the rows that a resolved row of `ACTIONS` makes without asking anyone.

    Args:
        row: The row of work.
        copied: The table's row whose prediction it takes over.
        run_info: What this run writes.
    """
    if row["status"] is None:
        return [], []
    asked, prompt_id = (row, row["task"], row["key"]), row["prompt_id"]
    if row["status"] == QUARANTINED:
        bad = [quarantine_row(row, row["task"], row["key"], row["reason"], row["message"], run_info)]
        is_product = row["task"] is not None
        return ([enriched_row(*asked, run_info, status=QUARANTINED, prompt_id=prompt_id)] if is_product else []), bad
    if row["status"] == EMPTY:
        return [enriched_row(*asked, run_info, status=EMPTY, prompt_id=prompt_id)], []
    assert row["status"] in (ENRICHED, DELETED)
    assert copied is not None
    own = {name: row[name] for name in ("product_id", "task", "key", "status")}
    known = copied["prediction_key"] and row["key"] if row["status"] == ENRICHED else copied["prediction_key"]
    made = {**copied, **own, "prediction_key": known, "updated_at": run_info.now, "replaces": row["replaces"]}
    reviewers = sorted({*(copied["reviewers"] or ()), *(row["reviewers"] or ())}) or None
    return [{**made, "prompt_id": copied["prompt_id"] or prompt_id, "reviewers": reviewers}], []


def quarantine_row(
    target: Mapping[str, Any], task: str | None, key: str | None, reason: str, message: str | None, run_info: RunInfo
) -> Row:
    """Return a row of `BAD_RESULTS`."""
    return {
        **{name: target[name] for name in ("fingerprint", "product_id", "path", "line", "attempts")},
        "task": task,
        "stage": STAGES.get(reason, "read"),
        "reason": reason,
        "message": clean_message(message or ""),
        "key": key,
        "run_id": run_info.run_id,
        "updated_at": run_info.now,
    }
