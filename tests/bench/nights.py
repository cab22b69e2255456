"""Two nights over a real catalogue: `python -m tests.bench.nights data.root=PATH [section.field=value ...]`.

`PATH/catalog/products.yaml` is a shop's catalogue. A model learns its categories from four fifths of its products, from
name and description alone: the column `style`, which gives the category away, is not read, and products of one name
stand on one side. What to tag and how to sum up reviews it learns from the sample shop. The model then enriches the
whole catalogue, with reviews that the sample shop's generator writes, on two nights; before the second, 1 % of the
products change, 10 come and 10 go. `category_accuracy` is that of the fifth which training never saw, as the table has
it after the first night. Writes `runs/bench/nights.json`.
"""

import argparse
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import yaml

from eshop_ray.artifacts import write_json
from eshop_ray.sample_shop.catalog_reviews import write_reviews
from eshop_ray.sample_shop.changes import change_products
from eshop_ray.sample_shop.write import write_json_lines, write_sample_shop

logger = logging.getLogger(__name__)

RESULTS = Path(__file__).parents[2] / "runs" / "bench" / "nights.json"
NUM_SHOWN = 4
SHARES = 5
READ = ("id", "name", "category", "description")
COUNTED = (
    *("num_products", "num_rows", "num_new", "num_changed", "num_unchanged", "num_deleted", "num_quarantined"),
    *("num_inferred", "num_duplicates_reused", "num_input_tokens", "num_generated_tokens"),
)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nights", description=__doc__.partition(":")[0])
    parser.add_argument("settings", nargs="+", metavar="section.field=value")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = dict(setting.split("=", 1) for setting in options.settings)
    root = Path(settings.pop("data.root"))
    products = yaml.load((root / "catalog" / "products.yaml").read_text(), Loader=yaml.CSafeLoader)
    with TemporaryDirectory() as folder:
        results = run([{name: row[name] for name in READ} for row in products], Path(folder), settings)
    write_json(options.results, results)
    print(render(results))


def run(products, folder, settings):
    learned = [row for row in products if not is_held_out(row)]
    write_sample_shop(str(folder), num_products=198, seed=0)
    write_json_lines(folder / "catalog.train.jsonl", learned)
    write_json_lines(folder / "catalog.dev.jsonl", filter(is_held_out, products))
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(build_config(folder, sorted({row["category"] for row in products}))))
    said = [f"{name}={value}" for name, value in settings.items()]
    seconds = {job: execute(job, config, said) for job in ("prepare-data", "train-lora", "merge-lora")}
    nights = []
    for night in (products, change_products(products, 1, 0.01, 10, 10)):
        write_json_lines(folder / "products.jsonl", night)
        write_reviews(night, folder / "reviews.jsonl", seed=0)
        spent = execute("enrich-catalog", config, said)
        stats = json.loads((folder / "runs" / "nights" / "enrichment.json").read_text())
        nights.append({"seconds": spent, **{name: stats[name] for name in COUNTED if name in stats}})
        if len(nights) == 1:
            table = pl.read_delta(str(folder / "runs" / "nights" / "enriched"))
    seconds["verify"] = execute("verify", config, said)
    first, second = nights
    return {
        "category_accuracy": score(table, filter(is_held_out, products)),
        "category_accuracy_learned": score(table, learned),
        "num_learned": len(learned),
        "num_held_out": len(products) - len(learned),
        "second_night_tokens": second["num_generated_tokens"] / first["num_generated_tokens"],
        "second_night_input_tokens": second["num_input_tokens"] / first["num_input_tokens"],
        "nights": nights,
        "seconds": seconds,
        "examples": list(show(table, products)),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor()},
    }


def is_held_out(row):
    return int(hashlib.sha256(row["name"].encode()).hexdigest(), 16) % SHARES == 0


def build_config(folder, labels):
    return {
        "name": "nights",
        "run_root": str(folder / "runs"),
        "data": {
            "root": str(folder),
            "sources": [
                {"format": "catalog", "path": "catalog.{split}.jsonl"},
                {"format": "queryner", "path": "queries.{split}.conll"},
                {"format": "reviews", "path": "review_summaries.{split}.tsv"},
            ],
        },
        "lora": {"r": 16, "lora_alpha": 32},
        "train": {
            "learning_rate": 1e-3,
            "global_batch_size": 16,
            "loss_weighting": "row",
            "precision": "auto",
        },
        "infer": {"engine_kwargs": {"dtype": "float32"}},
        "catalog": {"path": "products.jsonl", "labels": labels},
        "reviews": {"path": "reviews.jsonl"},
    }


def execute(job, config, settings):
    """Return the seconds of a whole command."""
    started = time.monotonic()
    command = [sys.executable, "-m", "eshop_ray", job, str(config), *settings]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    seconds = round(time.monotonic() - started, 1)
    logger.info("%s: %.1f s", job, seconds)
    return seconds


def score(table, products):
    """Return the share of products whose answer is their category; an answer that failed is wrong."""
    answers = dict(table.filter(pl.col("task") == "classification").select("product_id", "text").iter_rows())
    found = [answers.get(str(row["id"])) == row["category"] for row in products]
    return sum(found) / len(found)


def show(table, products):
    """Yield the answers about some products that training never saw, always the same ones."""
    held_out = sorted(filter(is_held_out, products), key=lambda row: str(row["id"]))
    step = len(held_out) // NUM_SHOWN
    for row in held_out[::step][:NUM_SHOWN]:
        answers = table.filter(pl.col("product_id") == str(row["id"])).sort("task")
        columns = ["task", "status", "prediction", "num_generated_tokens"]
        yield {**row, "answers": answers.select(columns).to_dicts()}


def render(results):
    lines = [
        f"category accuracy of {results['num_held_out']} products that training never saw: "
        f"{results['category_accuracy']:.1%} (of {results['num_learned']} that it saw: "
        f"{results['category_accuracy_learned']:.1%})",
        *(json.dumps(night) for night in results["nights"]),
        f"second night: {results['second_night_tokens']:.2%} of the first night's generated tokens",
    ]
    for example in results["examples"]:
        lines.append(f"{example['id']} {example['name']} ({example['category']})")
        lines += [f"    {answer['task']}: {answer['prediction']}" for answer in example["answers"]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
