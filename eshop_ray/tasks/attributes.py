"""Attributes: the values of several attributes at once, as one JSON object."""

import json
from collections.abc import Mapping
from typing import Any

from eshop_ray.parsing import parse_object
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Output, Task
from eshop_ray.tasks.product import ATTRIBUTES, ProductForm, UnaskableError, join_columns

BLANKS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Those of `json.dumps`, in vLLM's words for its backend `guidance`; others pass them by. JSON allows any number of
blanks between two values, and a small model that begins with them may write nothing else."""


def format_input(record: Record) -> str:
    """Return the attributes with the values that each may have, which many rows share, before the text."""
    asked = (f"- {name}: {', '.join(values) if values else 'any'}" for name, values in record["attributes"].items())
    return "\n".join(["Attributes:", *asked, f"Text: {record['text']}"])


def format_target(target: Mapping[str, str | None]) -> str:
    """Return the object as it is generated, on one line."""
    return json.dumps(target, ensure_ascii=False)


def build_output(record: Record) -> Output:
    """Allow one object with each attribute: one of its values, or any text where it names none, or null."""
    properties = {
        name: {"enum": [*values, None]} if values else {"type": ["string", "null"]}
        for name, values in record["attributes"].items()
    }
    return {
        "json": {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
            "x-guidance": BLANKS,
        }
    }


def choose_attributes(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the product's category, and its texts as one."""
    text = join_columns(product)
    if not text:
        raise UnaskableError("missing_text", "what the question reads of the product is missing or empty")
    return {"attributes": product[ATTRIBUTES], "text": text}


TASK = Task(
    name="attributes",
    version=2,
    instruction="Answer with a JSON object that has a value for each attribute, or null where the text does not say.",
    format_input=format_input,
    format_target=format_target,
    parse=parse_object,
    unparsed={},
    metric="attribute f1",
    max_tokens=256,
    output=build_output,
    product=ProductForm(("name", "description", ATTRIBUTES), empty_without=(ATTRIBUTES,), build=choose_attributes),
    column="entities",
    examples=(
        {
            "attributes": {"color": ["red", "blue"], "material": None},
            "text": "Red scarf of merino wool",
            "target": {"color": "red", "material": "merino wool"},
        },
        {
            "attributes": {"capacity": None, "insulated": ["yes", "no"]},
            "text": "Bottle, 500 ml",
            "target": {"capacity": "500 ml", "insulated": None},
        },
    ),
)
