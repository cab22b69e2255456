"""Ranking: the options' numbers from the most to the least relevant."""

from collections.abc import Sequence

from eshop_ray.parsing import parse_ranking
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task, number_options
from eshop_ray.tasks.heads import Head, NoLabelError, Question, read_options

MAX_OPTIONS = 5
"""The published parser reads five numbers, none above five."""


def format_input(record: Record) -> str:
    """Return the published question, or `query` with its options numbered from 1."""
    if "prompt" in record:
        return str(record["prompt"])
    return f"Query: {record['query']}\n{number_options(record['options'], start=1)}"


def format_target(target: Sequence[float]) -> str:
    """Turn the relevance of each option into the options' numbers, the most relevant first."""
    order = sorted(range(len(target)), key=lambda index: -target[index])
    return ",".join(str(index + 1) for index in order[:MAX_OPTIONS])


def build_output(record: Record) -> Output:
    """Allow comma-separated numbers, one for each option."""
    count = min(len(record["options"]), MAX_OPTIONS) if "options" in record else MAX_OPTIONS
    number = f"[1-{count}]"
    return {"regex": f"{number}(,{number}){{{count - 1}}}"}


def take_gains(target: Sequence[float], question: Question) -> list[float]:
    """Return the relevance of each option.

    Raises:
        NoLabelError: if there are not as many, or none is relevant.
    """
    if len(target) != len(question.candidates):
        raise NoLabelError(f"{len(target)} weights for {len(question.candidates)} options")
    if not any(target):
        raise NoLabelError("no option is relevant")
    return list(target)


def take_scores(scores: Sequence[float], question: Question) -> list[float]:  # noqa: ARG001
    """Return the weights that scores are."""
    return list(scores)


TASK = Task(
    name="ranking",
    version=1,
    instruction="Rank the options by how well they answer the query. Give their numbers, best first.",
    format_input=format_input,
    format_target=format_target,
    parse=parse_ranking,
    unparsed=[],
    metric="ndcg",
    max_tokens=16,
    output=build_output,
    heads=(Head("candidates", read_options, take_gains, take_scores),),
    examples=(
        {"query": "wool scarf", "options": ["Tent", "Wool scarf", "Cotton scarf"], "target": [0, 3, 1]},
        {"prompt": "Rank: 1. mug 2. cup 3. tree 4. glass 5. rock. Query: mug", "target": [5, 4, 1, 3, 1]},
    ),
)
