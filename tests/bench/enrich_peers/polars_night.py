"""The comparison of an unchanged night in plain Polars: `PRODUCTS_JSONL REVIEWS_JSONL LAST_NIGHT_PARQUET`.

Prints rows, changed rows and seconds. Without a last night it writes one. Its keys are 64-bit hashes of Polars' own,
which are no digests: two texts may share one, and another version of Polars may give others.
"""

import sys
import time
from pathlib import Path

import polars as pl

PRODUCTS = {"id": pl.String, "name": pl.String, "category": pl.String, "description": pl.String}
REVIEWS = {"parent_asin": pl.String, "text": pl.String, "helpful_vote": pl.Int64}
READS = {
    "ner_tagging": ("name",),
    "classification": ("name", "category", "description"),
    "summarization": ("name", "texts"),
}


def build_keys(products, reviews):
    by_votes = pl.scan_ndjson(reviews, schema=REVIEWS).sort("helpful_vote", "text", descending=[True, False])
    texts = by_votes.group_by("parent_asin", maintain_order=True).agg(pl.col("text").str.join("\x1e").alias("texts"))
    joined = pl.scan_ndjson(products, schema=PRODUCTS).join(texts, left_on="id", right_on="parent_asin", how="left")
    return pl.concat(
        joined.select(
            product_id="id",
            task=pl.lit(task),
            key=pl.concat_str(pl.lit("v1"), pl.lit("model"), *columns, separator="\x1f", ignore_nulls=True).hash(),
        )
        for task, columns in READS.items()
    )


def main(products, reviews, last_night):
    if not Path(last_night).exists():
        build_keys(products, reviews).collect().write_parquet(last_night)
    started = time.perf_counter()
    last = pl.scan_parquet(last_night).with_columns(is_known=True)
    joined = build_keys(products, reviews).join(last, on=["product_id", "task", "key"], how="left")
    counted = joined.select(pl.len(), pl.col("is_known").is_null().sum().alias("changed"))
    num_rows, num_changed = counted.collect().row(0)
    print(num_rows, num_changed, round(time.perf_counter() - started, 2))


if __name__ == "__main__":
    main(*sys.argv[1:])
