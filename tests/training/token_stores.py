"""Token stores made without Ray, of rows that look like two tasks' rows."""

import numpy as np
import pyarrow as pa

from eshop_ray.data.tokenization import TOKEN_SCHEMA
from eshop_ray.training.tokens import TokenStore, write_block, write_index


def build_rows(num_rows, seed=0):
    """Return rows of `TOKEN_SCHEMA`: each task has an instruction, each row a text and an answer of its own."""
    random = np.random.default_rng(seed)
    heads = {"ner": [*range(100, 140)], "ranking": [*range(200, 215)]}
    rows = []
    for number in range(num_rows):
        task = ("ner", "ranking")[number % 3 == 0]
        own, answer = (random.integers(0, 99, random.integers(1, most)).tolist() for most in (20, 9))
        row = {"id": f"{number:04d}", "task": task, "prompt_ids": [*heads[task], *own], "answer_ids": answer}
        rows.append({**row, "num_cut": 0, "error": None})
    return rows


def make_store(folder, rows):
    """Write rows as two files of a store."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for part in (rows[::2], rows[1::2]) if part]
    blocks = [write_block(pa.Table.from_pylist(part, schema=TOKEN_SCHEMA), folder) for part in parts]
    write_index(pa.concat_tables(blocks), folder)
    return TokenStore.open(folder)
