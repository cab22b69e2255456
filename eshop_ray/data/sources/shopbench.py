"""ShopBench questions: JSON Lines, or one JSON array as EC-Guide publishes them.

`input_field` is the complete question, `output_field` the answer, `task_type` tells the task; `metric` is kept
under its published name, and `task_name`, or the file's name, becomes the group.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

from pydantic import ValidationError, field_validator

from eshop_ray.config.base import Section
from eshop_ray.config.loading import explain_errors
from eshop_ray.data.sources.repairs import AnswerError, check_options, final_answer, is_reasoning, renumber_options
from eshop_ray.data.sources.required import read_objects
from eshop_ray.errors import UserError, find_nearest
from eshop_ray.schema import Malformed, Record, Row
from eshop_ray.tasks.metrics import METRICS

TASKS = {
    "multiple-choice": "multiple_choice",
    "generation": "generation",
    "retrieval": "retrieval",
    "ranking": "ranking",
    "named_entity_recognition": "ner",
    "named_entity_extraction": "ner",
}
"""Published `task_type` -> task. Blanks, `_` and `-` count as the same."""

METRICS_OF: Mapping[str, tuple[str, ...]] = {
    "multiple_choice": ("accuracy",),
    "classification": ("accuracy",),
    "ranking": ("ndcg",),
    "retrieval": ("hit rate@3",),
    "ner": ("micro f1",),
    "generation": ("rougel", "sent-transformer", "multilingual-sent-transformer", "bleu", "jp-bleu"),
}
"""Task -> metrics that can score what its parser reads."""

YES_OR_NO = "bool"
"""Published metric of questions whose answer is yes or no."""

_RESERVED = frozenset({"id", "task", "group", "metric", "target", "prompt", "text", "labels", "repaired", "version"})

_TASKS = {name.replace("_", "-"): task for name, task in TASKS.items()}


class SourceOptions(Section):
    """What `data.sources` may say about such questions."""

    extract: dict[str, str] = {}
    """Field -> regular expression, whose first group that matches is cut out of the question, e.g. `{query: "Query:
    (.+)"}`. `data.split_by` and `evaluate.clusters` can then go by it."""

    @field_validator("extract")
    @classmethod
    def _check_extract(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            if name in _RESERVED:
                raise ValueError(f"a record has a field `{name}` already; choose another name")
            try:
                num_groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"`{name}`: no regular expression: {error}") from error
            if not num_groups:
                raise ValueError(f"`{name}`: put what is to be cut out into brackets")
        return patterns


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:
    """Yield records with `prompt`, `target`, `group`, `metric`; `repaired` says what had to be mended.

    Args:
        stream: The file's bytes, unpacked.
        path: Its path.
        options: The fields of `SourceOptions`. A row of which one cannot be cut out is malformed.

    Raises:
        UserError: if no row has `input_field`, `output_field` or `task_type`.
    """
    stem = PurePosixPath(path.partition("?")[0]).name.partition(".")[0]
    try:
        patterns = SourceOptions.model_validate(dict(options)).extract
    except ValidationError as error:
        raise UserError(f"shopbench source: {explain_errors(error, SourceOptions)}") from error

    def parse(path: str, number: int, row: Row) -> Record | Malformed:
        try:
            return {"group": str(row.get("task_name") or stem), **read_question(row), **_extract(row, patterns)}
        except AnswerError as error:
            return Malformed(path, number, str(error))

    yield from read_objects(stream, path, ("input_field", "output_field", "task_type"), parse)


def _extract(row: Mapping[str, Any], patterns: Mapping[str, str]) -> dict[str, str]:
    """Return what the options cut out of a question. Raises AnswerError where there is nothing."""
    found = {}
    for name, pattern in patterns.items():
        match = re.search(pattern, str(row["input_field"]))
        value = next(filter(None, match.groups()), "").strip() if match else ""
        if not value:
            raise AnswerError(f"nothing in the question matches the `{name}` of `extract`")
        found[name] = value
    return found


def read_question(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row into a record, its defects mended. Raises AnswerError where that cannot be done."""
    prompt, answer = row.get("input_field"), row.get("output_field")
    task_type = str(row.get("task_type", "")).strip().lower().replace("_", "-").replace(" ", "-")
    if not isinstance(prompt, str) or not prompt.strip():
        raise AnswerError("`input_field` is missing or empty")
    if task_type not in _TASKS:
        raise AnswerError(f"`task_type` {row.get('task_type')!r} is none of {', '.join(TASKS)}")
    task, metric = _TASKS[task_type], _read_metric(row.get("metric"))
    if metric == YES_OR_NO:
        return _yes_or_no(prompt, answer)
    repaired = None
    if task == "generation" and isinstance(answer, str) and is_reasoning(prompt, answer):
        prompt, answer = final_answer(prompt, answer)
        task, metric, repaired = "multiple_choice", "accuracy", "final answer taken from a reasoning text"
    if task == "multiple_choice" and (renumbered := renumber_options(prompt)):
        prompt, repaired = renumbered, "options renumbered from 0 without a gap"
    if metric and metric not in METRICS_OF[task]:
        raise AnswerError(f"`metric` {metric!r} does not score `task_type` {row.get('task_type')!r}")
    target: Any = _TARGETS[task](answer)
    if task in ("multiple_choice", "retrieval"):
        check_options(prompt, target)
    record = {"task": task, "metric": metric, "prompt": prompt, "target": target}
    return {**record, "repaired": repaired} if repaired else record


def _read_metric(name: Any) -> str | None:
    if name and not (isinstance(name, str) and name in (*METRICS, YES_OR_NO)):
        nearest = find_nearest(str(name), METRICS)
        raise AnswerError(f"unknown `metric` {name!r}; did you mean {nearest!r}?")
    return name or None


def _yes_or_no(prompt: str, answer: Any) -> dict[str, Any]:
    target = str(answer).strip().lower()
    if target not in ("yes", "no"):
        raise AnswerError(f"answer {answer!r} is neither yes nor no")
    return {"task": "classification", "metric": "accuracy", "text": prompt, "labels": ["no", "yes"], "target": target}


def _text(answer: Any) -> str | list[str]:
    texts = answer if isinstance(answer, list) else [answer]
    if not texts or not all(isinstance(text, str | int | float) and str(text).strip() for text in texts):
        raise AnswerError(f"answer {_short(answer)} is not text")
    return [str(text) for text in texts] if isinstance(answer, list) else str(answer)


def _number(answer: Any) -> int:
    number = _literal(answer)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 9:
        raise AnswerError(f"answer {_short(answer)} is not the number of an option, 0 to 9")
    return number


def _numbers(answer: Any) -> list[int]:
    numbers = _literal(answer)
    numbers = list(numbers) if isinstance(numbers, list | tuple) else [numbers]
    if not numbers or not all(isinstance(number, int) and 0 <= number < 1000 for number in numbers):
        raise AnswerError(f"answer {_short(answer)} is not a list of option numbers")
    return numbers


def _weights(answer: Any) -> list[float]:
    weights = _literal(answer)
    if not isinstance(weights, list | tuple) or len(weights) < 2:
        raise AnswerError(f"answer {_short(answer)} is not a list of relevance weights")
    if not all(isinstance(weight, int | float) and 0 <= weight < 100 for weight in weights):
        raise AnswerError(f"answer {_short(answer)} holds a weight that is not a number from 0 on")
    return list(weights)


def _entities(answer: Any) -> list[str]:
    entities = _literal(answer)
    if isinstance(entities, str | int | float):
        entities = str(answer).split(",")
    if not isinstance(entities, list | tuple) or not all(isinstance(entity, str) for entity in entities):
        raise AnswerError(f"answer {_short(answer)} is not a list of texts")
    spans = [entity.strip() for entity in entities if entity.strip()]
    if not spans:
        raise AnswerError("no entity in the answer")
    return spans


_TARGETS = {
    "multiple_choice": _number,
    "generation": _text,
    "retrieval": _numbers,
    "ranking": _weights,
    "ner": _entities,
}


def _literal(answer: Any) -> Any:
    """Read an answer that was written as text: `"3"`, `"[1, 2]"`, `"['a', 'b']"`, `"4,1,2"`."""
    if not isinstance(answer, str):
        return answer
    try:
        return ast.literal_eval(answer.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return answer


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 60 else text[:60] + "..."
