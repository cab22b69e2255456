"""Records of a shop whose questions share long beginnings: one per family, as a category's list of attributes."""

import random

import pyarrow as pa

from eshop_ray.schema import RECORD_SCHEMA, encode

SHARED_TOKENS = 600
OWN_TOKENS = 400
ROWS_PER_TABLE = 2048


def build_tables(num_rows, num_families, seed=0):
    """Return records of `generation` in tables, families mixed at random; words have three letters and a blank."""
    chance = random.Random(seed)
    families = [write_words(chance, SHARED_TOKENS) for _ in range(num_families)]
    starts = range(0, num_rows, ROWS_PER_TABLE)
    return [build_table(chance, families, start, min(num_rows, start + ROWS_PER_TABLE)) for start in starts]


def build_table(chance, families, start, end):
    columns = {name: [None] * (end - start) for name in RECORD_SCHEMA.names}
    columns["id"] = [f"{index:08d}" for index in range(start, end)]
    columns["task"] = ["generation"] * (end - start)
    texts = (chance.choice(families) + write_words(chance, OWN_TOKENS) for _ in range(start, end))
    columns["fields"] = [encode({"prompt": text}) for text in texts]
    return pa.table(columns, schema=RECORD_SCHEMA)


def write_words(chance, count):
    letters = f"{chance.getrandbits(12 * count):0{3 * count}x}"
    return "".join(f"{letters[start : start + 3]} " for start in range(0, 3 * count, 3))
