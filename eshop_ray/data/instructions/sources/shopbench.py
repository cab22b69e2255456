"""Rows that are instructions already, in ShopBench's format, as EC-Guide publishes them; its defects are mended."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.instructions.material import Instruction, Material
from eshop_ray.data.sources import shopbench
from eshop_ray.data.sources.required import parse_row
from eshop_ray.schema import Malformed, Record, content_id
from eshop_ray.tasks import get_task
from eshop_ray.tasks.classification import TASK as CLASSIFICATION


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield an `Instruction` for each question.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: `extract`, as `data.sources` has it: what is cut out names products and queries, by which splits stay
            apart; and `language`.

    Raises:
        UserError: if it is no such file.
    """
    extract = options.get("extract", {})

    def parse(_path: str, _number: int, record: Record) -> Instruction:
        return to_instruction(record, options["language"], [str(record[name]) for name in extract])

    for number, record in enumerate(shopbench.read(stream, path, {"extract": extract}), start=1):
        yield record if isinstance(record, Malformed) else parse_row(path, number, record, parse)


def to_instruction(record: Record, language: str, about: list[str]) -> Instruction:
    """Return a record as an instruction; a label to choose becomes text to write."""
    task = get_task(record["task"])
    is_label = task is CLASSIFICATION
    prompt = str(record["text"]) if is_label else task.format_input(record)
    return Instruction(
        id=content_id(record["task"], prompt, str(record["target"])),
        language=language,
        repaired=record.get("repaired") or "",
        task="generation" if is_label else record["task"],
        prompt=prompt.strip(),
        target=record["target"],
        group=str(record.get("group") or ""),
        metric=record.get("metric"),
        about=tuple(about),
    )
