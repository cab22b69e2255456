"""ECInstruct: instruction, input, options and output of ten tasks, JSON."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.instructions.material import Instruction, Material
from eshop_ray.data.sources.required import read_objects, to_line
from eshop_ray.schema import Malformed, Row, content_id
from eshop_ray.tasks.base import number_options

_LETTER = re.compile(r"^\s*([A-Z])\s*[:.)]\s*(.*)$", re.DOTALL)


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield an `Instruction` for each row; options that have letters get numbers from 0.

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    parse = partial(_read, language=options["language"])
    yield from read_objects(stream, path, ("instruction", "input", "output"), parse)


def _read(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    asked = "\n".join(text for name in ("instruction", "input") if (text := _to_text(row.get(name))))
    answer = _to_text(row.get("output"))
    if not asked or not answer:
        return Malformed(path, number, "no instruction or no output")
    known: dict[str, Any] = {"language": language, "group": to_line(row.get("task")), "id": content_id(asked, answer)}
    options = _read_options(row.get("options"))
    if not options:
        metric = "accuracy" if answer.lower() in ("yes", "no") else "rougel"
        return Instruction(**known, task="generation", prompt=asked, target=answer, metric=metric)
    letter = _LETTER.match(answer)
    chosen = letter[1] if letter else answer.strip()
    if chosen not in options or len(options) > 10:
        return Malformed(path, number, f"the output {answer[:40]!r} is none of the options")
    prompt = f"{asked}\n{number_options(list(options.values()), start=0)}"
    return Instruction(**known, task="multiple_choice", prompt=prompt, target=list(options).index(chosen))


def _read_options(given: Any) -> dict[str, str]:
    """Return letter -> option."""
    if isinstance(given, str) and given.strip():
        try:
            given = json.loads(given)
        except ValueError:
            return {}
    lettered = [_LETTER.match(one) for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return {match[1]: " ".join(match[2].split()) for match in lettered if match}


def _to_text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else ""
