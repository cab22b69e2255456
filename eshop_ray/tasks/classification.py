"""Classification: one of the given labels for a text."""

from collections.abc import Mapping
from typing import Any

from eshop_ray.parsing import parse_generation
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task
from eshop_ray.tasks.heads import Head, Question, take_label, write_label
from eshop_ray.tasks.product import LABELS, ProductForm, UnaskableError, join_columns

LABELS_LINE = "Labels: "
TEXT_LINE = "\nText: "


def format_input(record: Record) -> str:
    """Return the labels, which many rows share, before the text, which none do."""
    return f"{LABELS_LINE}{', '.join(record['labels'])}{TEXT_LINE}{record['text']}"


def build_output(record: Record) -> Output:
    """Allow the labels and nothing else."""
    return {"choice": list(record["labels"])}


def read_text(message: str) -> Question:
    """Return the text, and the labels that the message offers."""
    labels, _, text = message.removeprefix(LABELS_LINE).partition(TEXT_LINE)
    return Question(text, offered=labels)


def join_texts(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return name and description, or the columns that a question names instead, as one text, and the labels."""
    text = join_columns(product)
    if not text:
        raise UnaskableError("missing_text", "what the question reads of the product is missing or empty")
    return {"labels": list(product[LABELS]), "text": text}


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
    product=ProductForm(("name", "description", LABELS), build=join_texts),
    heads=(Head("label", read_text, write_label, take_label),),
    column="text",
    examples=(
        {"text": "Steel bottle, keeps tea hot for 12 hours.", "labels": ["Garden", "Kitchen"], "target": "Kitchen"},
        {"text": "bottle / thermos", "labels": ["Exact", "Substitute"], "target": "Substitute"},
    ),
)
