"""The engine that knows the answers: with it every metric must be 1.0, which tests all that is not the model."""

from typing import Any

from ray.data import Dataset

from eshop_ray.inference.base import Engine
from eshop_ray.schema import decode
from eshop_ray.tasks import get_task


def build_oracle() -> Engine:
    """Return an engine that answers each prompt with its gold target."""

    def answer(prompts: Dataset) -> Dataset:
        return prompts.map(answer_row)

    return answer


def answer_row(row: dict[str, Any]) -> dict[str, Any]:
    """Write out the target of one prompt, as training would; a failed row stays as it is."""
    answered = {**row, "generated_text": None, "finish_reason": None, "num_input_tokens": 0, "num_generated_tokens": 0}
    if row["error"] is None:
        answered["generated_text"] = get_task(row["task"]).format_target(decode(row["target"]))
        answered["finish_reason"] = "stop"
    return answered
