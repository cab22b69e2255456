"""Named entities: the spans of one type in a product query or title."""

from eshop_ray.parsing import parse_entities
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Task, free_text


def format_input(record: Record) -> str:
    """Return the published question, or build one from `text` and `entity_type`."""
    if "prompt" in record:
        return str(record["prompt"])
    return f"Text: {record['text']}\nEntity type: {record['entity_type']}"


def format_target(target: list[str]) -> str:
    """Join with commas; a span that holds a comma forces the list form, which the parser reads as well."""
    if any("," in span or span != span.strip() for span in target):
        return repr(target)
    return ", ".join(target)


TASK = Task(
    name="ner",
    version=1,
    instruction="Copy the words of the text that name the asked entity type. Separate several with commas.",
    format_input=format_input,
    format_target=format_target,
    parse=parse_entities,
    unparsed=[],
    metric="micro f1",
    max_tokens=64,
    output=free_text,
    examples=(
        {"text": "nordvik steel bottle 500 ml", "entity_type": "size", "target": ["500 ml"]},
        {"text": "red or blue wool scarf", "entity_type": "color", "target": ["red", "blue"]},
        {"text": "Tent, 2 person, green", "entity_type": "title", "target": ["Tent, 2 person, green"]},
    ),
)
