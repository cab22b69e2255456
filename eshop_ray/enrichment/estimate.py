"""What a night would ask and cost, without an engine: `enrich.dry_run`."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow.compute as pc

from eshop_ray.artifacts import AnyFolder, write_json
from eshop_ray.config import Config
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.enrichment.former import needs_copy
from eshop_ray.enrichment.guards import check_limits
from eshop_ray.enrichment.nightly import read_statistics
from eshop_ray.enrichment.pipeline import plan, resolve, scan
from eshop_ray.enrichment.questions import DELETED
from eshop_ray.enrichment.run import Night
from eshop_ray.enrichment.shards import load_shard
from eshop_ray.errors import UserError
from eshop_ray.inference.engines.simulated.build import join_messages
from eshop_ray.map_tasks import map_tasks
from eshop_ray.models import Model, load_tokenizer
from eshop_ray.reporting.page import Table
from eshop_ray.reporting.terminal import print_table
from eshop_ray.schema import Row
from eshop_ray.storage import Storage
from eshop_ray.tasks import Task

logger = logging.getLogger(__name__)

ESTIMATE = "enrichment_estimate.json"
SAMPLED_FILES = 8
"""Files of the table from which the length of answers is taken."""
_CHANGES = ("new", "changed", DELETED)
_COLUMNS = (*_CHANGES, "questions", "input_tokens", "generated_tokens")


def estimate_night(config: Config, model: Model, replay: bool = False) -> dict[str, Any]:
    """Print what a night would do now, write it as `enrichment_estimate.json`, and return it.

    Input tokens are counted, by the model's own tokenizer. Generated tokens are what recent answers of the task had,
    or, without any, its limit. Time goes by the speed of the last night.

    Returns:
        `tasks`: new, changed and deleted rows, questions, `input_tokens` and `generated_tokens` of each; their sums;
        `seconds` and `cost`, None where nothing tells; `refused`: why the night would end before it changes anything.

    Raises:
        UserError: if an input or a table cannot be read, or the table is of the first design and not copied yet.
    """
    with Night(config, model, replay) as night:
        if any(needs_copy(table) for table in (night.enriched, night.quarantine)):
            raise UserError(
                f"{night.enriched.storage.shown} is made by the next night; run it before you ask what it costs"
            )
        inputs, context = scan(night)
        planned = plan(night, inputs, context)
        refused = _find_refusal(night, planned)
        asked = _count_questions(night, resolve(night, planned))
    lengths = _average_lengths(night)
    tasks = {name: _estimate_task(name, task, planned.changes, asked, lengths) for name, task in night.tasks.items()}
    totals = {name: sum(task[name] for task in tasks.values()) for name in _COLUMNS}
    seconds = _estimate_seconds(config, totals["questions"])
    estimate = {**totals, "tasks": tasks, "seconds": seconds, "cost": _price(config, seconds), "refused": refused}
    write_json(config.run_dir / ESTIMATE, estimate)
    _show(estimate)
    return estimate


def _find_refusal(night: Night, planned: Any) -> str | None:
    try:
        check_limits(night, planned)
    except UserError as error:
        return str(error)
    return None


def _count_questions(night: Night, shards: Sequence[Row]) -> Counter[tuple[str, str]]:
    """Return (task, `questions` or `input_tokens`) -> number."""
    count = partial(
        count_tokens,
        storage=night.staging.storage,
        tasks=night.tasks,
        tokenizer_dir=night.shared_model,
        settings=PromptSettings.of(night.config.infer),
    )
    counts: Counter[tuple[str, str]] = Counter()
    for report in map_tasks(count, shards):
        counts[report["task"], "questions"] += report["questions"]
        counts[report["task"], "input_tokens"] += report["input_tokens"]
    return counts


def count_tokens(
    shard: Row,
    storage: Storage,
    tasks: Mapping[str, Task],
    tokenizer_dir: AnyFolder | None,
    settings: PromptSettings,
) -> Row:
    """Return a shard's `task`, `questions` and `input_tokens`; without a tokenizer, words stand for tokens."""
    rows = load_shard(shard, storage, tasks, settings).to_pylist()
    prompts = [row["messages"] for row in rows if row["error"] is None]
    if tokenizer_dir is None:
        lengths = [len(join_messages(messages).split()) for messages in prompts]
    else:
        tokenizer = load_tokenizer(tokenizer_dir, for_chat=False)
        if tokenizer.chat_template:
            lengths = [len(tokenize_prompt(tokenizer, messages)) for messages in prompts]
        else:
            lengths = [len(tokenizer(join_messages(messages))["input_ids"]) for messages in prompts]
    return {"task": shard["task"], "questions": len(rows), "input_tokens": sum(lengths)}


def _average_lengths(night: Night) -> dict[str, float]:
    """Return task -> tokens of a recent answer."""
    lengths = {}
    for task in night.config.enrich.tasks:
        files = [file for file in night.snapshots[0].files if file.task == task]
        newest = sorted(files, key=lambda file: file.modified_ms)[-SAMPLED_FILES:]
        means = [pc.mean(night.enriched.read_file(file, ["num_generated_tokens"]).column(0)).as_py() for file in newest]
        known = [mean for mean in means if mean is not None]
        if known:
            lengths[task] = sum(known) / len(known)
    return lengths


def _estimate_task(
    name: str,
    task: Task,
    changes: Counter[tuple[str, str]],
    asked: Counter[tuple[str, str]],
    lengths: Mapping[str, float],
) -> dict[str, int]:
    num_questions = asked[name, "questions"]
    each = lengths.get(name, task.max_tokens)
    return {
        **{change: changes[name, change] for change in _CHANGES},
        "questions": num_questions,
        "input_tokens": asked[name, "input_tokens"],
        "generated_tokens": round(num_questions * each),
    }


def _estimate_seconds(config: Config, num_questions: int) -> float | None:
    last = read_statistics(config.run_dir)
    if num_questions == 0:
        return 0.0
    if not last or not last["num_inferred"] or last["num_engines"] != config.infer.concurrency:
        return None
    return round(num_questions * float(last["phases"]["infer"]) / int(last["num_inferred"]), 1)


def _price(config: Config, seconds: float | None) -> float | None:
    price = config.enrich.gpu_hour_price
    return None if price is None or seconds is None else round(price * config.infer.concurrency * seconds / 3600, 4)


def _show(estimate: Mapping[str, Any]) -> None:
    rows = [(task, *(f"{values[name]:,}" for name in _COLUMNS)) for task, values in estimate["tasks"].items()]
    header = ("task", *(name.replace("_", " ") for name in _COLUMNS))
    print_table(Table(header, rows), "what tonight would ask; nothing was changed")
    if estimate["seconds"] is not None:
        logger.info("engines: about %.0f s, at the speed of the last night", estimate["seconds"])
    if estimate["cost"] is not None:
        logger.info("cost: about %.2f", estimate["cost"])
    if estimate["refused"]:
        logger.info("the night would end before it changes anything: %s", estimate["refused"])
