"""The prompts that all sides answer: each gets the same messages and sampling parameters, in the same order."""

import gzip
import json
import random
from pathlib import Path

from eshop_ray.data.prompts import build_prompt
from eshop_ray.data.sources import catalog, shopbench
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, decode, encode

EC_GUIDE = ("NER/NER", "Generation/PQA", "MCQ/SA")
"""Files of EC-Guide: attribute values of queries, questions about products, sentiment of reviews."""
MAX_PROMPT_CHARS = 4000


def build_unique(root: str, num_rows: int, seed: int) -> list[dict]:
    """Return prompts that differ, of EC-Guide's three files in random order."""
    prompts = [write_prompt(record) for file in EC_GUIDE for record in read_ec_guide(root, file)]
    by_messages = {prompt["messages"]: prompt for prompt in prompts if len(prompt["messages"]) < MAX_PROMPT_CHARS}
    return take(list(by_messages.values()), num_rows, seed)


def build_catalog(root: str, num_rows: int, seed: int) -> list[dict]:
    """Return a shop's prompts as they come: half are EC-Guide's, file after file, half the catalogue's, product after
    product with three tasks each.
    """
    part = num_rows // 6
    asked = [take(list(read_ec_guide(root, file)), part, seed) for file in EC_GUIDE]
    with Path(root, "catalog/products.yaml").open("rb") as stream:
        read = [record for record in catalog.read(stream, "products.yaml", {}) if not isinstance(record, Malformed)]
    labels = sorted({record["target"] for record in read})
    products = [record for product in take(read, part, seed) for record in ask_of_product(product, labels)]
    return [write_prompt(record) for records in (*asked, products) for record in records]


def ask_of_product(product: dict, labels: list[str]) -> list[dict]:
    """Return the records of a product: its category, the entities of its name, and a summary of its description."""
    name = product["text"].partition("\n")[0]
    return [
        {**product, "task": "classification", "labels": labels},
        {"task": "ner_tagging", "tokens": name.split(), "target": None},
        {"task": "summarization", "title": name, "reviews": [product["text"]], "target": None},
    ]


def read_ec_guide(root: str, name: str) -> list[dict]:
    """Return the records of one of EC-Guide's files."""
    path = Path(root, "ec_guide", f"{name}.json.gz")
    with gzip.open(path) as stream:
        return [record for record in shopbench.read(stream, str(path), {}) if not isinstance(record, Malformed)]


def write_prompt(record: dict) -> dict:
    """Return `{"task", "messages", "sampling_params"}` as the pipeline writes them, the latter two as JSON text."""
    fields = {name: value for name, value in record.items() if name not in ("task", "target", "group", "metric")}
    row = {"id": "", "task": record["task"], "group": None, "metric": None, "target": None, "fields": encode(fields)}
    prompt = build_prompt(row)
    if prompt.get("error"):
        raise UserError(f"the benchmark's row has no prompt: {prompt['error']}")
    return {
        "task": prompt["task"],
        "messages": json.dumps(prompt["messages"]),
        "sampling_params": prompt["sampling_params"],
    }


def take(items: list, num: int, seed: int) -> list:
    """Return a sample in the items' own order.

    Raises:
        UserError: if there are fewer.
    """
    if len(items) < num:
        raise UserError(f"the benchmark wants {num} rows of a kind, the data has {len(items)}; lower --rows")
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), num))]


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows for the processes that are measured, numbered."""
    path.write_text("".join(json.dumps({"id": f"{number:06d}", **row}) + "\n" for number, row in enumerate(rows)))


def read_rows(path: str) -> list[dict]:
    """Read what `write_rows` wrote: `id`, `task`, `messages` (a list), `sampling_params` (JSON text)."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [{**row, "messages": decode(row["messages"])} for row in rows]
