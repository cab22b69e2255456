"""Named entities: the whole query cut into spans, each with its type (BIO tagging).

A tag per word costs a small model many tokens and leaves it free to lose count. Here the answer is the query
itself, cut into spans: `text=type | text=type`. Decoding is held to the words of the query in their order, so an
answer always aligns, and the model decides just two things: where a span ends, and what type it has.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.parsing import parse_spans
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task
from eshop_ray.tasks.heads import Head, NoLabelError, Question, find_words
from eshop_ray.tasks.product import ProductForm, UnaskableError, join_columns
from eshop_ray.words import split_words

TYPES = (
    "UoM",
    "color",
    "condition",
    "content",
    "core_product_type",
    "creator",
    "department",
    "material",
    "modifier",
    "occasion",
    "origin",
    "price",
    "product_name",
    "product_number",
    "quantity",
    "shape",
    "time",
)
"""QueryNER's entity types; `O` marks a word outside of all of them."""


def format_input(record: Record) -> str:
    """Return the query's words, separated by blanks."""
    return " ".join(record["tokens"])


def format_target(target: dict[str, list[str]]) -> str:
    """Cut the tokens into spans along their BIO tags; outside words are spans of type `O`, one each."""
    spans: list[tuple[str, str]] = []
    for token, tag in zip(target["tokens"], target["tags"], strict=True):
        if tag.startswith("I-") and spans:
            spans[-1] = (f"{spans[-1][0]} {token}", spans[-1][1])
        else:
            spans.append((token, tag.removeprefix("B-")))
    return " | ".join(f"{text}={entity_type}" for text, entity_type in spans)


def build_output(record: Record) -> Output:
    """Allow the query's own words in their order; after each, the span goes on or ends with its type."""
    end = f"=({'|'.join((*TYPES, 'O'))})"
    words = [re.escape(token) for token in record["tokens"]]
    between = f"( |{end} \\| )"
    return {"regex": between.join(words) + end}


def read_words(message: str) -> Question:
    """Return the query, each of its words to be tagged."""
    return Question(message, words=find_words(message, "[^ ]+"))


def take_tags(target: Mapping[str, list[str]], question: Question) -> list[str]:
    """Return the target's tags, one for each word."""
    if len(target["tags"]) != len(question.words):
        raise NoLabelError(f"{len(target['tags'])} tags for {len(question.words)} words")
    return list(target["tags"])


def join_tags(tags: Sequence[str], question: Question) -> dict[str, list[str]]:
    """Return words and tags as a target has them."""
    return {"tokens": [question.text[start:end] for start, end in question.words], "tags": list(tags)}


def split_name(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a product's name, or of the columns that a question names instead."""
    tokens = split_words(join_columns(product))
    if not tokens:
        raise UnaskableError("missing_text", "what the question reads of the product is missing or empty")
    return {"tokens": tokens}


def _example(query: str, tags: str) -> dict[str, Any]:
    return {"tokens": query.split(), "target": {"tokens": query.split(), "tags": tags.split()}}


TASK = Task(
    name="ner_tagging",
    version=1,
    instruction=f"Split the product query into parts and name the type of each part: {', '.join(TYPES)}, or O.",
    format_input=format_input,
    format_target=format_target,
    parse=parse_spans,
    unparsed=[],
    metric="entity f1",
    max_tokens=256,
    output=build_output,
    product=ProductForm(("name",), build=split_name),
    heads=(Head("tags", read_words, take_tags, join_tags),),
    column="entities",
    examples=(
        _example("red wool scarf for women", "B-color B-material B-core_product_type O B-department"),
        _example("12 x 10 ft (canopy) tent", "B-UoM I-UoM I-UoM I-UoM B-modifier B-core_product_type"),
    ),
)
