"""Do everything once, on a small shop of the project's own."""

import json
import logging
import time
from pathlib import Path

from eshop_ray.config import Config
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA
from eshop_ray.enrichment.nightly import read_statistics
from eshop_ray.enrichment.preview import print_rows
from eshop_ray.enrichment.table import Table
from eshop_ray.jobs import batch_infer, enrich_catalog, evaluate, make_sample_shop, merge_lora, prepare_data, train_lora
from eshop_ray.progress import format_seconds
from eshop_ray.sample_shop.changes import change_products
from eshop_ray.sample_shop.write import write_json_lines

logger = logging.getLogger(__name__)

STEPS = (make_sample_shop, prepare_data, train_lora, merge_lora, batch_infer, evaluate, enrich_catalog)

CHANGED_SHARE, NUM_ADDED, NUM_REMOVED = 0.02, 2, 2


def run(config: Config) -> None:
    """Run every job in its turn, then a second night on a shop that changed a little."""
    started = time.monotonic()
    for step in STEPS:
        logger.info("---- %s", step.__name__.rpartition(".")[2])
        step.run(config)
    logger.info("---- the next night: a few products changed, %d came, %d went", NUM_ADDED, NUM_REMOVED)
    first = read_statistics(config.run_dir) or {}
    enrich_catalog.run(_change_shop(config))
    second = read_statistics(config.run_dir) or {}
    print_rows(Table.open(config.table_uri, ENRICHED_SCHEMA), num_rows=10, tasks=config.enrich.tasks)
    for name in ("num_inferred", "num_generated_tokens", "seconds"):
        logger.info("%-32s first night %9.6g, second night %9.6g", name, first[name], second[name])
    logger.info("the whole road took %s", format_seconds(time.monotonic() - started))


def _change_shop(config: Config) -> Config:
    """Write the next night's catalogue beside the first and return the config that reads it."""
    root = Path(config.data.root)
    products = [json.loads(line) for line in (root / "products.jsonl").read_text().splitlines()]
    changed = change_products(products, config.seed, CHANGED_SHARE, NUM_ADDED, NUM_REMOVED)
    write_json_lines(root / "products.next_night.jsonl", changed)
    catalog = config.catalog.model_copy(update={"path": "products.next_night.jsonl"})
    return config.model_copy(update={"catalog": catalog})
