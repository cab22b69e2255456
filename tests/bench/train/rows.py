"""The rows that all peers train on, tokenised once: every side gets the same ids in the same order."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from eshop_ray.data.files import list_files
from eshop_ray.data.sources import queryner, reviews
from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import Malformed
from eshop_ray.training.packing.pack import TokenRow

TYPES = (
    "UoM, color, condition, content, core_product_type, creator, department, material, modifier, occasion, origin, "
    "price, product_name, product_number, quantity, shape, time"
)
INSTRUCTION = (
    "You are an expert in e-commerce search. Label every token of the query below with its named entity tag in the "
    "BIO scheme: B- begins an entity, I- continues it, O is outside of any entity. "
    f"The entity types are: {TYPES}. "
    "Answer with one (token, TAG) tuple for each token of the query, in the order of the query, separated by commas, "
    "and nothing else."
)
"""QueryNER's published form: `(token, TAG)` tuples asked for with the list of types, then `Query: ...`."""

MAX_ROW_LENGTH = 1024


def build_shared_prefix(root: str, model_dir: Path, num_rows: int, seed: int) -> list[TokenRow]:
    """Return queries of QueryNER behind one long instruction."""
    tokenizer = load_tokenizer(model_dir)
    records = _take(list(_read(queryner, root, "queryner/train.conll")), num_rows, seed)
    rows = []
    for number, record in enumerate(records):
        pairs = zip(record["tokens"], record["target"]["tags"], strict=True)
        messages = [{"role": "user", "content": f"{INSTRUCTION}\nQuery: {' '.join(record['tokens'])}"}]
        answer = ", ".join(f"({token}, {tag})" for token, tag in pairs)
        prompt_ids = tokenize_prompt(tokenizer, messages)
        rows.append(TokenRow(f"q{number}", "queryner", prompt_ids, tokenize_answer(tokenizer, messages, answer)))
    return rows


def build_plain(root: str, model_dir: Path, num_rows: int, seed: int) -> list[TokenRow]:
    """Return a product's reviews with their first summary: no instruction and no chat header, so nothing is shared."""
    tokenizer = load_tokenizer(model_dir)
    records = _take(list(_read(reviews, root, "review_summaries/*.tsv")), num_rows, seed)
    rows = []
    for number, record in enumerate(records):
        prompt_ids = tokenizer("\n".join(record["reviews"]) + "\nSummary:", add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(f" {record['target'][0]}", add_special_tokens=False)["input_ids"]
        answer_ids = [*answer_ids, tokenizer.eos_token_id]
        prompt_ids = prompt_ids[-(MAX_ROW_LENGTH - len(answer_ids)) :]
        rows.append(TokenRow(f"r{number}", "summaries", prompt_ids, answer_ids))
    return rows


def write_rows(path: Path, rows: Sequence[TokenRow]) -> None:
    """Write rows for the processes that are measured."""
    values = [[row.id, row.task, list(row.prompt_ids), list(row.answer_ids)] for row in rows]
    path.write_text(json.dumps(values))


def read_rows(path: str) -> list[TokenRow]:
    """Read what `write_rows` wrote."""
    return [TokenRow(*values) for values in json.loads(Path(path).read_text())]


def count_tokens(rows: Sequence[TokenRow]) -> dict[str, float]:
    """Return the figures that describe a workload."""
    lengths = [len(row) for row in rows]
    return {
        "rows": len(rows),
        "mean_tokens": sum(lengths) / len(rows),
        "max_tokens": max(lengths),
        "mean_answer_tokens": sum(len(row.answer_ids) for row in rows) / len(rows),
    }


def _read(source, root, pattern):
    for file in list_files(root, pattern):
        with Path(file.path).open("rb") as stream:
            yield from (record for record in source.read(stream, file.path, {}) if not isinstance(record, Malformed))


def _take(records, num_rows, seed):
    if len(records) < num_rows:
        raise UserError(f"the benchmark wants {num_rows} rows, the data has {len(records)}; lower --rows")
    return random.Random(seed).sample(records, num_rows)
