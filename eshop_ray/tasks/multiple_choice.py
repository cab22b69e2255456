"""Multiple choice: the number of the right option."""

import re
from collections.abc import Sequence

from eshop_ray.parsing import parse_multiple_choice
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task, number_options
from eshop_ray.tasks.heads import Head, Question, one_hot, rank, read_options, write_label

_SCALE = re.compile(r"\bon a scale (?:of|from) \d to \d\b")
_OPTION = re.compile(r"^\s*(\d)\s*[.:)]", re.MULTILINE)


def format_input(record: Record) -> str:
    """Return the published question, or `question` with its options numbered from 0."""
    if "prompt" in record:
        return str(record["prompt"])
    return f"{record['question']}\n{number_options(record['options'], start=0)}"


def build_output(record: Record) -> Output:
    """Allow the numbers of the options, or any digit where the question does not number them by line."""
    digits = sorted(set(_OPTION.findall(format_input(record))))
    return {"choice": digits if len(digits) > 1 else [str(digit) for digit in range(10)]}


def read_choice(message: str) -> Question | None:
    """Return a question with its options; None for one that asks for a grade, whatever its text numbers."""
    return None if _SCALE.search(message) else read_options(message)


def read_scale(message: str) -> Question:
    """Return a question without options in it, such as one for a grade: its answers are a closed set of numbers."""
    return Question(message)


def mark_right(target: int, question: Question) -> list[float]:
    """Return the gains of the options: one is right."""
    return one_hot([target], question)


def choose_best(scores: Sequence[float], question: Question) -> int:
    """Return the number of the option with the highest score."""
    return question.first + rank(scores)[0]


def take_grade(labels: Sequence[str], question: Question) -> int:  # noqa: ARG001
    """Return the grade that a label is."""
    return int(labels[0])


TASK = Task(
    name="multiple_choice",
    version=1,
    instruction="Answer with the number of the right option.",
    format_input=format_input,
    format_target=str,
    parse=parse_multiple_choice,
    unparsed=-1,
    metric="accuracy",
    max_tokens=4,
    output=build_output,
    heads=(
        Head(
            "candidates",
            read_choice,
            mark_right,
            choose_best,
        ),
        Head("label", read_scale, write_label, take_grade),
    ),
    examples=(
        {"question": "What is a thermos?", "options": ["A bottle", "A scarf", "A tent"], "target": 0},
        {"prompt": "Which keeps you dry?\n0. A fan\n1. An umbrella\nAnswer:", "target": 1},
        {"prompt": "Rate this review from 1 to 5: love it", "target": 5},
    ),
)
