"""The engine that knows the answers: with it every metric must be 1.0, which tests all that is not the model."""

from functools import partial

import pyarrow as pa
from ray.data import Dataset

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.blocks import BlockRow, add_answers
from eshop_ray.inference.dispatch.stage import read_answers
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.reading import Reader
from eshop_ray.inference.requests import Answer
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task


def refuse_oracle(infer: InferSection, rows: str) -> None:
    """Raise `UserError` if the oracle is to answer rows that come without targets, such as `a catalogue`."""
    if infer.engine == "oracle":
        raise UserError(f"infer.engine=oracle answers with gold targets, and {rows} has none; use vllm or serve")


def build_oracle(reader: Reader | None = None) -> Engine:
    """Return an engine that answers each prompt with its gold target."""
    answer = partial(answer_block, reader=reader)

    def answer_all(prompts: Dataset) -> Dataset:
        return prompts.map_batches(answer, batch_format="pyarrow", batch_size=None)

    return answer_all


def answer_block(block: pa.Table, reader: Reader | None = None) -> pa.Table:
    """Write out the targets, as training would; a failed row stays as it is."""
    rows = []
    for position, values in enumerate(block.select(["task", "target", "messages", "error"]).to_pylist()):
        row = BlockRow(position, None)
        if values["error"] is None and values["messages"] is not None:
            row.add(Answer(get_task(values["task"]).format_target(decode(values["target"])), "stop", 0, 0))
        rows.append(row)
    if reader:
        read_answers(block, rows, reader)
    return add_answers(block, rows)
