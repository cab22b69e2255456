"""Do everything once, on a small shop of the project's own."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eshop_ray.artifacts import write_json
from eshop_ray.config import Config
from eshop_ray.enrichment.nightly import read_statistics
from eshop_ray.enrichment.preview import print_rows
from eshop_ray.enrichment.tables import enriched_table
from eshop_ray.errors import UserError
from eshop_ray.evaluation.wins import find_wins
from eshop_ray.jobs import (
    batch_infer,
    enrich_catalog,
    evaluate,
    fetch_model,
    make_sample_shop,
    merge_lora,
    prepare_data,
    train_lora,
)
from eshop_ray.reporting.words import format_seconds
from eshop_ray.sample_shop.changes import change_products
from eshop_ray.sample_shop.write import write_json_lines

logger = logging.getLogger(__name__)

CHANGED_SHARE, NUM_ADDED, NUM_REMOVED = 0.03, 2, 2
LEVEL = 0.9
"""Of the interval by which a group counts as won."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the demo, and what its user is told before it starts."""

    run: Callable[[Config], None]
    aim: str
    """What it does."""
    seconds: int
    """About how long it takes on two quiet cores."""


def run(config: Config) -> None:
    """Run every job in its turn, then a second night on a shop that changed a little."""
    started, is_fresh = time.monotonic(), not (config.run_dir / "adapter").exists()
    logger.info(introduce(STEPS, os.cpu_count() or 1))
    for number, step in enumerate(STEPS, start=1):
        begun = time.monotonic()
        logger.info(announce(step, number, len(STEPS)))
        step.run(config)
        logger.info("took %s", format_seconds(time.monotonic() - begun))
    seconds = time.monotonic() - started
    _tell_wins(_record(config, seconds, is_fresh))
    logger.info("the whole demo took %s", format_seconds(seconds))


def introduce(steps: Sequence[Step], num_cores: int) -> str:
    """Say how long all of it may take."""
    total = round_time(sum(step.seconds for step in steps))
    return f"{len(steps)} steps, about {total} on 2 cores with nothing else to do; this machine has {num_cores}"


def announce(step: Step, number: int, num_steps: int) -> str:
    """Say what a step does and how long it may take."""
    return f"---- {number}/{num_steps}  {step.aim} (about {round_time(step.seconds)})"


def round_time(seconds: float) -> str:
    """Return a time that nobody takes for exact: whole minutes from 90 s on, else steps of five seconds."""
    if seconds >= 90:
        return f"{round(seconds / 60)} min"
    return f"{max(5, 5 * round(seconds / 5))} s"


def _record(config: Config, seconds: float, is_fresh: bool) -> Mapping[str, bool]:
    """Add to `metrics.json` in how many groups the tuned model is clearly ahead, and what the demo took.

    `demo_is_fresh` is false where an earlier run had left its adapter: such a demo takes less.
    """
    if set(config.infer.models) != {"base", "merged"}:
        raise UserError("the demo compares the tuned model with its base; leave `infer.models` at [base, merged]")
    wins = find_wins(config.predictions_dir("merged"), config.predictions_dir("base"), LEVEL, config.seed)
    path = config.model_run_dir("merged") / "metrics.json"
    metrics = json.loads(path.read_text())
    added = {"wins_90": sum(wins.values()), "demo_seconds": round(seconds, 1), "demo_is_fresh": is_fresh}
    write_json(path, {**metrics, **added})
    return wins


def _tell_wins(wins: Mapping[str, bool]) -> None:
    behind = ", ".join(group for group, is_win in wins.items() if not is_win)
    logger.info(
        "tuned ahead of base by more than the %.0f %% interval: %d of %d groups%s",
        100 * LEVEL, sum(wins.values()), len(wins), f"; not {behind}" if behind else "",
    )  # fmt: skip


def _enrich_again(config: Config) -> None:
    """Enrich the catalogue of the next night, and show what the two nights cost."""
    first = read_statistics(config.run_dir) or {}
    enrich_catalog.run(_change_shop(config))
    second = read_statistics(config.run_dir) or {}
    print_rows(enriched_table(config.table_uri), num_rows=10, tasks=config.enrich.tasks)
    for name in ("num_inferred", "num_generated_tokens", "seconds"):
        logger.info("%-32s first night %9.6g, second night %9.6g", name, first[name], second[name])


def _change_shop(config: Config) -> Config:
    """Write the next night's catalogue beside the first and return the config that reads it."""
    if config.catalog.path is None:
        raise UserError("`catalog.path` is not set; name the products' file, as the config `demo` does")
    today = Path(config.data.root) / config.catalog.path
    products = [json.loads(line) for line in today.read_text().splitlines()]
    changed = change_products(products, config.seed, CHANGED_SHARE, NUM_ADDED, NUM_REMOVED)
    tomorrow = today.with_name("next_night.jsonl")
    write_json_lines(tomorrow, changed)
    catalog = config.catalog.model_copy(update={"path": tomorrow.name})
    return config.model_copy(update={"catalog": catalog})


STEPS = (
    Step(make_sample_shop.run, "Make up a shop: products, reviews, queries, and questions with their answers", 5),
    Step(fetch_model.run, "Fetch the base model, the first time only", 25),
    Step(prepare_data.run, "Read the shop's files into records, sorted by task", 10),
    Step(train_lora.run, "Tune: train an adapter on the records, all tasks at once", 415),
    Step(merge_lora.run, "Fold the adapter into the base model", 5),
    Step(batch_infer.run, "Have base and tuned model answer questions about products that training never saw", 190),
    Step(evaluate.run, "Score the answers of both", 5),
    Step(enrich_catalog.run, "First night: enrich the catalogue of these products", 40),
    Step(_enrich_again, "Next night: a few products changed, 2 came, 2 went; ask about these only", 25),
)
