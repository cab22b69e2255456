"""The engine that knows the answers: with it every metric must be 1.0, which tests all that is not the model."""

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.inference.dispatch.blocks import Row, add_answers
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.requests import Answer
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task


def build_oracle() -> Engine:
    """Return an engine that answers each prompt with its gold target."""

    def answer(prompts: Dataset) -> Dataset:
        return prompts.map_batches(answer_block, batch_format="pyarrow", batch_size=None)

    return answer


def answer_block(block: pa.Table) -> pa.Table:
    """Write out the targets, as training would; a failed row stays as it is."""
    rows = []
    for values in block.select(["task", "target", "messages", "error"]).to_pylist():
        row = Row(None)
        if values["error"] is None and values["messages"] is not None:
            row.add(Answer(get_task(values["task"]).format_target(decode(values["target"])), "stop", 0, 0))
        rows.append(row)
    return add_answers(block, rows)
