"""Rows that are instructions already, in ShopBench's format, as EC-Guide publishes them; its defects are mended."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from eshop_ray.data.instructions.material import Instruction, Material
from eshop_ray.data.instructions.teacher.options import read_options
from eshop_ray.data.sources import shopbench
from eshop_ray.data.sources.repairs import option_numbers
from eshop_ray.data.sources.required import parse_row
from eshop_ray.schema import Malformed, Record, content_id
from eshop_ray.tasks import get_task
from eshop_ray.tasks.classification import TASK as CLASSIFICATION
from eshop_ray.tasks.retrieval import TASK as RETRIEVAL


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
    prompt, target = str(record["text"]) if is_label else task.format_input(record), record["target"]
    repaired = record.get("repaired") or ""
    if task is RETRIEVAL:
        prompt, target, repaired = count_from_zero(prompt, target) or (prompt, target, repaired)
    return Instruction(
        id=content_id(record["task"], prompt, str(target)),
        language=language,
        repaired=repaired,
        task="generation" if is_label else record["task"],
        prompt=prompt.strip(),
        target=target,
        group=str(record.get("group") or ""),
        metric=record.get("metric"),
        about=tuple(about),
    )


def count_from_zero(prompt: str, target: Sequence[int]) -> tuple[str, list[int], str] | None:
    """Return a question whose options count from 1 with options that count from 0, as all others do, its answer, and
    what was done; None where they count from 0 or stand in no lines of their own.

    Where other numbers may be meant as theirs nothing is done but to say so.
    """
    options = read_options(prompt)
    if options is None or option_numbers(prompt)[:1] != [1]:
        return None
    numbers = range(1, len(options.texts) + 1)
    others = options.before + options.after
    is_sure = options.first == 1 and set(target) <= set(numbers)
    if not is_sure or _NUMBERED_LINE.search(others) or _SPAN.search(others):
        return prompt, list(target), "options left to count from 1: other numbers may be theirs"
    counted = replace(options, first=0).arrange(range(len(options.texts)))
    return counted, [number - 1 for number in target], "options counted from 0"


_NUMBERED_LINE = re.compile(r"^[ \t]*\d{1,2}[.):]", re.MULTILINE)
_SPAN = re.compile(r"\b[01]\s*(?:to|through|and|or|-|\u2013)\s*\d", re.IGNORECASE)
