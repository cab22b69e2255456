"""Read a model's answer: ShopBench's five parsers, kept bit for bit, one for tagged spans and one for an object.

A model's junk is a wrong answer, not an error: no parser raises, whatever the text. The odd corners (a leading
digit counts as a choice, one duplicate empties a ranking) are the benchmark's own; scores only compare with
published ones as long as they stay.
"""

import ast
import json
import warnings

MAX_RESPONSE_CHARACTERS = 5_000
"""What follows is not read, by any parser."""

UNREADABLE_CHOICE = -1
"""The option that stands for an answer which is none."""

THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<mm:think>", "</mm:think>"),
    ("<|channel>", "<channel|>"),
    ("Here is my thought process:", "Here is my response:"),
)
"""How models of several makers begin and end what they think before they answer."""

ENVELOPES = (
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
)
"""What some of them put around the answer that follows."""


def drop_thought(text: str) -> str | None:
    """Return an answer without the reasoning before it; None if that was cut off, so that there is no answer.

    The beginning of the reasoning may be missing: it stood in the prompt. One that comes later is a part of the answer.
    """
    begun = text.lstrip()
    for start, end in THOUGHTS:
        if begun.startswith(start):
            _, is_ended, answer = begun.partition(end)
            return _open_envelope(answer) if is_ended else None
    for start, end in THOUGHTS:
        if start[0].isalpha():  # words, which an answer may hold as well
            continue
        thought, is_ended, answer = begun.partition(end)
        if is_ended and start not in thought:
            return _open_envelope(answer)
    return text


def _open_envelope(answer: str) -> str:
    answer = answer.lstrip()
    for start, end in ENVELOPES:
        if answer.startswith(start):
            return answer.removeprefix(start).partition(end)[0].strip()
    return answer


def parse_multiple_choice(text: str) -> int:
    """Return the option that the answer starts with: its first character after white space, as a digit.

    Any script's decimal digits count; `10` is therefore option 1. Without a leading digit: -1.
    """
    try:
        return int(text[:MAX_RESPONSE_CHARACTERS].strip()[0])
    except (IndexError, ValueError):
        return UNREADABLE_CHOICE


def parse_ranking(text: str) -> list[int]:
    """Return up to five 1-based positions, best first; an answer that repeats one gives none at all.

    Numbers above 5 are passed over before counting, since no question has more than five options.
    """
    positions = [number for number in _read_integers(text) if number <= 5][:5]
    return positions if len(positions) == len(set(positions)) else []


def parse_retrieval(text: str) -> list[int]:
    """Return the first three numbers of the answer, repetitions included."""
    return _read_integers(text)[:3]


def parse_generation(text: str) -> str:
    """Return the answer without the white space around it."""
    return text[:MAX_RESPONSE_CHARACTERS].strip()


def parse_entities(text: str) -> list[str]:
    """Return the answer's strings: a Python list of strings as it stands, anything else split at its commas."""
    response = text[:MAX_RESPONSE_CHARACTERS]
    try:
        with warnings.catch_warnings():  # "\d" in an answer is no reason to warn the user of this program
            warnings.simplefilter("ignore")
            entities = ast.literal_eval(response)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        entities = None  # brackets and signs nested too deep end in the last two
    if isinstance(entities, list) and all(isinstance(entity, str) for entity in entities):
        return entities
    return [entity.strip() for entity in response.split(",") if entity.strip()]


def parse_spans(text: str) -> list[list[str]]:
    """Return `[[span text, type], ...]` from `span text=type | span text=type`.

    The last `=` of a piece divides it, so that a span's text may hold one. A piece without `=`, text or type is
    left out.
    """
    spans = []
    for piece in text[:MAX_RESPONSE_CHARACTERS].split(" | "):
        span_text, _, span_type = piece.rpartition("=")
        if span_text.strip() and span_type.strip():
            spans.append([span_text.strip(), span_type.strip()])
    return spans


def parse_object(text: str) -> dict[str, str | None]:
    """Return the first JSON object of an answer, its values as text; empty where there is none.

    What stands around it (a greeting, a fence of Markdown) is passed over. A value that is a list or an object is none.
    """
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[:MAX_RESPONSE_CHARACTERS], start)
    except (ValueError, RecursionError, IndexError):
        return {}
    return {name: _to_text(value) for name, value in found.items()} if start >= 0 and isinstance(found, dict) else {}


def _to_text(value: object) -> str | None:
    """Return a plain value of JSON as text, as JSON writes it; None for null and what is not plain."""
    if value is None or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _read_integers(text: str) -> list[int]:
    """Drop all but numeric characters, commas and blanks, split at the commas, and keep what `int` can read.

    Dropping joins what it stood between: `1.5` reads as 15 and `1-2` as 12. `int` turns down two numbers with a
    blank between them, numeric characters that are no digits (a fraction, a superscript), and more digits than
    Python converts (4,300).
    """
    kept = "".join(c for c in text[:MAX_RESPONSE_CHARACTERS] if c.isnumeric() or c in ", ")
    numbers = []
    for item in kept.split(","):
        try:
            numbers.append(int(item))
        except ValueError:
            continue
    return numbers
