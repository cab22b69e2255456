"""Summarization: what a product's reviewers agree on, in a few sentences."""

from collections.abc import Mapping
from typing import Any

from eshop_ray.parsing import parse_generation
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Task, first_reference, free_text
from eshop_ray.tasks.product import REVIEWS, ProductForm, join_columns

TITLE_CHARACTERS = 200
"""What the prompt shows of a product's name."""


def format_input(record: Record) -> str:
    """Return the product's name where it is known, and one review a line."""
    title = record.get("title")
    head = [f"Product: {title}"] if title else []
    return "\n".join([*head, "Reviews:", *(f"- {' '.join(review.split())}" for review in record["reviews"])])


def choose_reviews(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name, or the columns that a question names instead, as the title, and the reviews."""
    return {"title": " ".join(join_columns(product).split())[:TITLE_CHARACTERS], "reviews": product[REVIEWS]}


TASK = Task(
    name="summarization",
    version=1,
    instruction="Summarize what the reviews say about the product in a few sentences.",
    format_input=format_input,
    format_target=first_reference,
    parse=parse_generation,
    unparsed="",
    metric="rougel",
    max_tokens=128,
    output=free_text,
    product=ProductForm((REVIEWS,), optional=("name",), empty_without=(REVIEWS,), build=choose_reviews),
    column="text",
    examples=(
        {
            "title": "Nordvik bottle",
            "reviews": ["Keeps tea hot all day.", "Great, but the lid leaks a little."],
            "target": "Keeps drinks hot for a long time; the lid may leak.",
        },
        {
            "reviews": ["Soft and warm."],
            "target": ["A soft, warm scarf.", "Buyers like how soft and warm it is."],
        },
    ),
)
