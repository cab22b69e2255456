"""Titles, descriptions and bullet points of products, one written from the other."""

import re
from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Product
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Question, Subtask, Text
from eshop_ray.words import SPACED_LETTER

_EXAMPLES = (
    Product(
        id="1",
        title="Nordvik Steel Bottle",
        description="The Nordvik Steel Bottle keeps tea hot for twelve hours and fits into a cup holder.",
        bullets=("Keeps tea hot for 12 hours", "Fits into a cup holder"),
        category="kitchen",
    ),
    Product(
        id="2",
        title="Alva Linen Shirt",
        description="A relaxed shirt of European linen, garment-washed.",
        bullets=("European linen", "Garment-washed"),
        category="apparel",
    ),
)
_FEWEST_WORDS = 6
"""A shorter description says too little to write a title from."""


def hide_title(product: Product) -> str:
    """Return the description without the title, which many repeat word by word; parts of longer words stay."""
    return re.sub(re.escape(product.title), _hide_word, product.description, flags=re.IGNORECASE)


def _hide_word(found: re.Match[str]) -> str:
    start, end = found.span()
    before, after = found.string[start - 1 : start], found.string[end : end + 1]
    return found[0] if _LETTER.match(before) or _LETTER.match(after) else "[product]"


_LETTER = re.compile(SPACED_LETTER)
"""Compiled once: within each title's own pattern it would take milliseconds."""


def build_title(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the title of a described product."""
    description = hide_title(product)
    if len(description.split()) >= _FEWEST_WORDS:
        yield Question({"description": description}, Text(product.title))


def build_description(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the description of a product with a title."""
    if len(product.description.split()) >= _FEWEST_WORDS:
        told = product.category.replace(" > ", ", ")
        named = f"{product.title} ({told})" if told else product.title
        yield Question({"product": named}, Text(product.description))


def build_bullets(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the bullet points of a product: its page's own, or its attributes."""
    facts = [f"{name}: {value.replace('|', ', ')}" for name, value in (product.attributes or {}).items()]
    bullets = product.bullets or tuple(facts)
    if len(bullets) >= 2:
        yield Question({"title": product.title}, Text("; ".join(bullets)))


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
                "Product description: {description}\nSuggest a title that shoppers understand at a glance.",
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
                "Write a product description.\nProduct: {product}\nDescription:",
                "Describe this product for an online shop in a few sentences: {product}",
                "A shop lists the following item. What should its page say?\n{product}",
                "You write for a shop. Introduce this product to its customers: {product}",
                "Product: {product}\nCompose a short text that makes shoppers want it.",
                "Draft the copy for an item that is sold as {product}.",
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="bullet_generation",
        takes=(Product,),
        build=build_bullets,
        wordings={
            "en": (
                "Write the bullet points of this product's page, separated by semicolons.\nProduct: {title}",
                "List the key facts of {title}, divided by semicolons.",
                'What are the selling points of "{title}"? Separate them by semicolons.',
                "Product: {title}\nBullet points, separated by semicolons:",
                "Sum up {title} in a few short points with semicolons between them.",
                "A shopper skims the page of {title}. Give the points to skim, separated by semicolons.",
            )
        },
        examples=_EXAMPLES,
    ),
)
