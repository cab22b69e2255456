"""Classification: one of the given labels for a text."""

from eshop_ray.parsing import parse_generation
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task


def format_input(record: Record) -> str:
    """Return the labels, which many rows share, before the text, which none do."""
    return f"Labels: {', '.join(record['labels'])}\nText: {record['text']}"


def build_output(record: Record) -> Output:
    """Allow the labels and nothing else."""
    return {"choice": list(record["labels"])}


TASK = Task(
    name="classification",
    version=1,
    instruction="Answer with the one label that fits the text.",
    format_input=format_input,
    format_target=str,
    parse=parse_generation,
    unparsed="",
    metric="accuracy",
    max_tokens=32,
    output=build_output,
    examples=(
        {"text": "Steel bottle, keeps tea hot for 12 hours.", "labels": ["Garden", "Kitchen"], "target": "Kitchen"},
        {"text": "bottle / thermos", "labels": ["Exact", "Substitute"], "target": "Substitute"},
    ),
)
