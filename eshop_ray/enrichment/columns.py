"""The Arrow schemas of the two Delta tables."""

import pyarrow as pa

from eshop_ray.schema import Row, content_id

ENTITIES = pa.list_(pa.struct([("text", pa.string()), ("type", pa.string())]))

ENRICHED_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("status", pa.string()),
        ("prediction", pa.string()),
        ("text", pa.string()),
        ("entities", ENTITIES),
        ("key", pa.string()),
        ("prediction_key", pa.string()),
        ("prompt_id", pa.string()),
        ("task_version", pa.int32()),
        ("model_digest", pa.string()),
        ("run_id", pa.string()),
        ("num_input_tokens", pa.int64()),
        ("num_generated_tokens", pa.int64()),
        ("inferred_at", pa.timestamp("us", tz="UTC")),
        ("updated_at", pa.timestamp("us", tz="UTC")),
        ("reviewers", pa.list_(pa.string())),
        ("confidence", pa.float32()),
        ("bucket", pa.int32()),
    ]
)
"""One row per product and task.

`status` is `enriched`; `empty` where there is nothing to ask (no reviews); `quarantined`, which keeps the last good
prediction, if there was one; or `deleted`, a tombstone that keeps its prediction in case the product returns.
`prediction` is JSON text; `text` and `entities` are the same, typed. `key` is the digest of all that determines the
answer to tonight's question, `prediction_key` that of the question which the prediction answers, `prompt_id` and
`run_id` the prompt and the run that asked it: the run's record has the prompt in words. `reviewers`
are digests of the users whose reviews the prediction was made from. `confidence` says how sure the model was, null
where `infer.confidence` did not ask. A file holds rows of one task and `bucket`, which
is a part of the products.
"""

LATER_COLUMNS = ("prompt_id", "reviewers", "confidence")
"""Tables and files of earlier versions are without; their rows have null there."""

QUARANTINE_SCHEMA = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("product_id", pa.string()),
        ("task", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
        ("key", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("run_id", pa.string()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
        ("bucket", pa.int32()),
    ]
)
"""What could not be enriched, one row per trouble that still stands; a row that is mended leaves the table.

`fingerprint` identifies the row over the runs; `product_id` and `task` are null for input that could not be read.
"""


MAX_MESSAGE_CHARACTERS = 300


def clean_message(message: str) -> str:
    """Return a message as the quarantine keeps it: short, and without half characters, which Arrow refuses."""
    return message.encode("utf-8", "replace").decode()[:MAX_MESSAGE_CHARACTERS]


def identify_place(trouble: str, row: Row) -> str:
    """Return the fingerprint of a row that is known by where it stands and by nothing else."""
    element = [str(row["element"])] if row["element"] else []
    return content_id(trouble, row["path"], str(row["line"]), *element)
