"""Generation: free text that answers a complete question (titles, descriptions, answers, explanations)."""

from eshop_ray.parsing import parse_generation
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Task, first_reference, free_text


def format_input(record: Record) -> str:
    """Return the question as it is."""
    return str(record["prompt"])


TASK = Task(
    name="generation",
    version=1,
    instruction="You help in an online shop. Answer briefly.",
    format_input=format_input,
    format_target=first_reference,
    parse=parse_generation,
    unparsed="",
    metric="sent-transformer",
    max_tokens=128,
    output=free_text,
    column="text",
    examples=(
        {"prompt": "Explain the product type: canopy tent", "target": "A tent with a roof and open sides."},
        {
            "prompt": "Title for: steel, 500 ml, bottle",
            "target": ["Steel Bottle, 500 ml", "Bottle of steel 500 ml"],
            "metric": "rougel",
        },
    ),
)
