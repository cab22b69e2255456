"""Titles and descriptions of products, one written from the other."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Product
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Question, Subtask, Text

_EXAMPLES = (
    Product(id="1", title="Nordvik Steel Bottle", description="Keeps tea hot for twelve hours.", category="kitchen"),
    Product(id="2", title="Alva Linen Shirt", description="A relaxed shirt, garment-washed.", category="apparel"),
)


def build_title(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the title of a described product."""
    if product.description:
        yield Question({"description": product.description}, Text(product.title))


def build_description(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the description of a product with a title."""
    if product.description:
        yield Question({"title": product.title}, Text(product.description))


SUBTASKS = (
    Subtask(
        name="title_generation",
        takes=(Product,),
        build=build_title,
        wordings={
            "en": (
                "Write a product title for this description.\nDescription: {description}\nTitle:",
                "Here is what a shop says about a product: {description}\nWhat would you call the product?",
                "Give the product described below a short title for its page.\n{description}",
                "Product description: {description}\nSuggest a title that shoppers would understand at a glance.",
                "Read the description and name the product.\n\n{description}\n\nName:",
                "A merchant forgot the title of this item. Write it.\nItem: {description}",
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="description_generation",
        takes=(Product,),
        build=build_description,
        wordings={
            "en": (
                "Write a product description.\nProduct: {title}\nDescription:",
                "Describe the product \"{title}\" for an online shop in a few sentences.",
                "What should the product page of {title} say?",
                "You write for a shop. Introduce this product to its customers: {title}",
                "Product title: {title}\nCompose a short text that makes shoppers want it.",
                "Draft the copy for an item called {title}.",
            )
        },
        examples=_EXAMPLES,
    ),
)
