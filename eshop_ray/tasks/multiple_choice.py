"""Multiple choice: the number of the right option."""

import re

from eshop_ray.parsing import parse_multiple_choice
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task, number_options
from eshop_ray.tasks.heads import Head, Question, one_hot, rank, read_options

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
            lambda target, question: one_hot([target], question),
            lambda scores, question: question.first + rank(scores)[0],
        ),
        Head("label", read_scale, lambda target, _: [str(target)], lambda labels, _: int(labels[0])),
    ),
    examples=(
        {"question": "What is a thermos?", "options": ["A bottle", "A scarf", "A tent"], "target": 0},
        {"prompt": "Which keeps you dry?\n0. A fan\n1. An umbrella\nAnswer:", "target": 1},
        {"prompt": "Rate this review from 1 to 5: love it", "target": 5},
    ),
)
