"""Kinds of rows that a change may strike alone: long prompts, one label, one type of entity, one script."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eshop_ray.schema import Row, decode

MIN_SLICE_ROWS = 10
"""Smaller slices are not shown."""
MAX_VALUES = 30
"""Different targets, or types, beyond which they are no kinds of rows."""

Slices = Mapping[tuple[str, str], Sequence[int]]
"""By what rows are divided, and the name of a part -> places of its rows."""


def find_slices(rows: Sequence[Row]) -> Slices:
    """Divide the rows of a group, columns of `PREDICTION_SCHEMA`, in every way that gives at least two parts.

    A row may stand in several parts: it may hold entities of several types.
    """
    found: dict[tuple[str, str], list[int]] = {}
    ways = {
        "prompt length": _name_lengths(rows),
        "target": [_name_target(row) for row in rows],
        "entity type": [_name_types(row) for row in rows],
        "script": [_name_script(row) for row in rows],
    }
    for way, names in ways.items():
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, kinds in enumerate(names):
            for kind in kinds:
                places[kind].append(place)
        large = {name: found_at for name, found_at in sorted(places.items()) if len(found_at) >= MIN_SLICE_ROWS}
        if 1 < len(places) <= MAX_VALUES:
            found |= {(way, name): found_at for name, found_at in large.items()}
    return found


def _name_lengths(rows: Sequence[Row]) -> list[list[str]]:
    """Name the third of all rows that a prompt belongs to, by its tokens."""
    lengths = [row["num_input_tokens"] for row in rows]
    if any(length is None for length in lengths) or len(set(lengths)) < 3:
        return [[] for _ in rows]
    first, second = (int(edge) for edge in np.quantile(lengths, [1 / 3, 2 / 3], method="lower"))
    names = (f"1: up to {first} tokens", f"2: up to {second} tokens", f"3: more than {second} tokens")
    return [[names[0 if length <= first else 1 if length <= second else 2]] for length in lengths]


def _name_target(row: Row) -> list[str]:
    target = decode(row["target"])
    return [str(target)] if isinstance(target, str | int) else []


def _name_types(row: Row) -> list[str]:
    """Name the types of a target's entities, by its tags, or the names of its attributes."""
    target = decode(row["target"])
    if not isinstance(target, dict):
        return []
    if "tags" in target:
        return sorted({tag.removeprefix("B-") for tag in target["tags"] if tag.startswith("B-")})
    return sorted(target)


def _name_script(row: Row) -> list[str]:
    """Name the script of most of the question's letters, e.g. `latin`."""
    counts = Counter(_list_scripts(_find_question(row)))
    return [counts.most_common(1)[0][0]] if counts else []


def _list_scripts(text: str) -> Iterator[str]:
    for letter in filter(str.isalpha, text):
        yield unicodedata.name(letter, "UNKNOWN").split()[0].lower()


def _find_question(row: Row) -> str:
    messages: Sequence[Mapping[str, Any]] = row["messages"] or ()
    return next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
