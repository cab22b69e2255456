"""What an engine is asked while it is measured: the run's own rows, in another guise each time."""

import json
from collections.abc import Sequence

from eshop_ray.config import Config
from eshop_ray.data.prompts import PromptSettings, build_prompt
from eshop_ray.data.splits import read_split
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.blocks import WritePrompt
from eshop_ray.inference.requests import Request
from eshop_ray.schema import Message, content_id, decode


class Workload:
    """Questions that `batch_infer` would ask, each one once.

    An engine keeps what it has computed, so a row that it is asked again would cost it nothing. Every round therefore
    opens each prompt with the round's number: rows of a round share what they shared before, and nothing with the
    rows of any other.
    """

    def __init__(self, rows: Sequence[tuple[Sequence[Message], dict[str, object]]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def build_round(self, number: int, write_prompt: WritePrompt) -> list[Request]:
        """Return the rows in the guise of a round, numbered from 0."""
        return [Request(write_prompt(_mark(messages, number)), dict(params)) for messages, params in self._rows]


def read_workload(config: Config) -> Workload:
    """Return the rows to measure with: a sample that keeps the tasks' shares, each task's rows together.

    Raises:
        UserError: if the split has no row that could be asked.
    """
    split, infer, wanted = config.evaluate.split, config.infer, config.autotune.num_rows
    places = (config.records_dir, split, config.data.tasks, infer.max_rows)
    num_parts = max(1, read_split(*places).count() // (2 * wanted))
    records = read_split(*places, shard=(1, num_parts)).take_all()
    sample = sorted(records, key=lambda row: content_id("autotune", row["id"]))[:wanted]
    asked = {}
    for row in sorted(sample, key=lambda row: str(row["task"])):
        prompt = build_prompt(row, PromptSettings.of(infer))
        if prompt.get("error") is None:
            asked[json.dumps(prompt["messages"]) + prompt["sampling_params"]] = prompt
    if not asked:
        raise UserError(f"split `{split}` of {config.records_dir} has no row to ask; choose another `evaluate.split`")
    return Workload([(prompt["messages"], decode(prompt["sampling_params"])) for prompt in asked.values()])


def _mark(messages: Sequence[Message], number: int) -> list[Message]:
    first, *others = messages
    return [{**first, "content": f"{number}. {first['content']}"}, *others]
