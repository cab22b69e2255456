"""Named entities: the spans of one type in a product query or title."""

import re
from collections.abc import Sequence

from eshop_ray.parsing import parse_entities
from eshop_ray.schema import Record
from eshop_ray.tasks.base import Task, free_text
from eshop_ray.tasks.heads import OUTSIDE, Head, NoLabelError, Question, find_runs, find_words


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


ENTITY = "entity"
"""The one type of its tags: which entity is meant, the question says."""

_OWN_FORM = re.compile(r"Text: (.*)\nEntity type: ", re.DOTALL)
_QUERY = "Query:"


def read_words(message: str) -> Question:
    """Return the whole question, each of its words to be tagged: it says which type is asked for."""
    return Question(message, words=find_words(message))


def take_tags(target: Sequence[str], question: Question) -> list[str]:
    """Tag the words of the target's spans where they stand last in the text that is asked about.

    Raises:
        NoLabelError: if one of them does not stand there: its words would be learnt as none.
    """
    start, end = _find_text(question.text)
    tags = [OUTSIDE] * len(question.words)
    for span in target:
        found = _find_last(question.text.lower(), span.lower(), start, end)
        inside = [
            place
            for place, (first, last) in enumerate(question.words)
            if found >= 0 and found <= first and last <= found + len(span)
        ]
        if not inside:
            raise NoLabelError("no entity of the target, or not all of them, stand in the text")
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{ENTITY}"
    return tags


def _find_last(text: str, span: str, start: int, end: int) -> int:
    """Return where a span stands last, by itself rather than within a word; -1 if it does not."""
    alone = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(span)}(?!\w)", text[:end])]
    return alone[-1] if alone and alone[-1] >= start else text.rfind(span, start, end)


def join_tags(tags: Sequence[str], question: Question) -> list[str]:
    """Return the tagged spans as they stand in the text."""
    words = question.words
    return [question.text[words[first][0] : words[last - 1][1]] for first, last, _ in find_runs(tags)]


def _find_text(message: str) -> tuple[int, int]:
    """Return where the text stands in a question of this task's own form or a published one; all of it in others."""
    own = _OWN_FORM.fullmatch(message, 0, message.rfind("Entity type: ") + len("Entity type: "))
    return own.span(1) if own else (max(0, message.rfind(_QUERY)), len(message))


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
    heads=(Head("tags", read_words, take_tags, join_tags),),
    examples=(
        {"text": "nordvik steel bottle 500 ml", "entity_type": "size", "target": ["500 ml"]},
        {"text": "red or blue wool scarf", "entity_type": "color", "target": ["red", "blue"]},
        {"text": "Tent, 2 person, green", "entity_type": "title", "target": ["Tent, 2 person, green"]},
    ),
)
