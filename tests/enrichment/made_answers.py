"""A nightly table whose answers are given, without a night."""

import json
from collections import defaultdict

import pyarrow as pa

from eshop_ray.enrichment.columns import ENRICHED_SCHEMA
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.table import Writer, partition_of
from eshop_ray.enrichment.tables import enriched_table

NUM_BUCKETS = 2


def write_answers(uri, answers):
    """Make the table hold these answers and no others: (product id, task) -> prediction; None: it is deleted."""
    table = enriched_table(uri)
    table.create(NUM_BUCKETS)
    writer = Writer(table, "made")
    rows = defaultdict(list)
    for (product_id, task), prediction in answers.items():
        row = dict.fromkeys(ENRICHED_SCHEMA.names) | {"product_id": product_id, "task": task}
        row |= {"status": "deleted" if prediction is None else "enriched", "prediction": json.dumps(prediction)}
        row["confidence"] = 0.93456
        rows[task, bucket_of(product_id, NUM_BUCKETS)].append(row)
    files = [
        table.write_rows(pa.Table.from_pylist(part, ENRICHED_SCHEMA), partition_of(bucket, NUM_BUCKETS, task), "made")
        for (task, bucket), part in rows.items()
    ]
    new, old = {file.path for file in files}, {file.path for file in writer.files}
    writer.commit(
        [file for file in files if file.path not in old], [file for file in writer.files if file.path not in new]
    )
