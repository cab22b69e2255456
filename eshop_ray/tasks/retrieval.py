"""Retrieval: the numbers of the options that fit."""

from collections.abc import Sequence

from eshop_ray.parsing import parse_retrieval
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task, number_options
from eshop_ray.tasks.heads import Head, Question, one_hot, rank, read_options

MAX_ANSWERS = 3
"""The published metric is the hit rate among the first three."""


def format_input(record: Record) -> str:
    """Return the published question, or `query` with its options numbered from 0."""
    if "prompt" in record:
        return str(record["prompt"])
    return f"Query: {record['query']}\n{number_options(record['options'], start=0)}"


def format_target(target: Sequence[int]) -> str:
    """Separate the numbers by commas; those past the third would not be read."""
    return ",".join(str(index) for index in target[:MAX_ANSWERS])


def build_output(record: Record) -> Output:  # noqa: ARG001 - one shape of answer for every record
    """Allow one to three comma-separated numbers of at most two digits."""
    number = "[0-9]{1,2}"
    return {"regex": f"{number}(,{number}){{0,{MAX_ANSWERS - 1}}}"}


def choose_first(scores: Sequence[float], question: Question) -> list[int]:
    """Return the numbers of the options with the highest scores."""
    return [question.first + place for place in rank(scores)[:MAX_ANSWERS]]


TASK = Task(
    name="retrieval",
    version=1,
    instruction="Give the numbers of the options that fit, separated by commas.",
    format_input=format_input,
    format_target=format_target,
    parse=parse_retrieval,
    unparsed=[],
    metric="hit rate@3",
    max_tokens=16,
    output=build_output,
    heads=(
        Head(
            "candidates",
            read_options,
            one_hot,
            choose_first,
        ),
    ),
    examples=(
        {"query": "scarf", "options": ["Wool scarf", "Tent", "Silk scarf"], "target": [0, 2]},
        {"prompt": "Which are shoes? 0. Boot 1. Mug 2. Clog 3. Sandal", "target": [0, 2, 3]},
    ),
)
