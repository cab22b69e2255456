"""Kinds of rows that a change may strike alone: long prompts, one label, one category, one language, one script."""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eshop_ray.data.language import UNKNOWN, identify
from eshop_ray.data.prompts import find_question
from eshop_ray.data.splits import take_field
from eshop_ray.schema import decode
from eshop_ray.tasks.product import LABELS

MIN_SLICE_ROWS = 10
"""Smaller slices are not shown."""
MAX_VALUES = 30
"""Different targets, or types, beyond which they are no kinds of rows; of a field the most frequent are shown."""
MAX_KEPT = 5000
"""Different values of a field beyond which it names rows, and not kinds of them."""
MAX_CHARACTERS = 200
"""Of a text, by which its language is told: a thousand texts take a second."""
MIN_BYTES = 20
"""Shorter texts have no language: of names with fewer than 20 Latin letters a quarter would be taken for another's, of
longer ones one in thirty. Seven Japanese characters are as long."""
CATEGORY = "category"
"""Field by which records are divided where no other is named."""

Slices = Mapping[tuple[str, str], Sequence[int]]
"""By what rows are divided, and the name of a part -> places of its rows."""
Columns = Mapping[str, Sequence[Any]]
"""Of rows that two runs answered: see `read_pairs`."""
Names = Sequence[Sequence[str]]
"""Of each row the parts that it stands in; it may hold entities of several types."""


class SliceBook:
    """The rows of a group, divided in several ways as they come: memory holds numbers of rows, and names of parts."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        """Take task or group -> field of its records that they are divided by."""
        self._fields = fields
        self._places: dict[str, dict[str, array[int]] | None] = {}
        self._lengths = array("q")
        self._num_rows = 0

    def add(self, columns: Columns) -> None:
        """Divide rows of the group.

        Raises:
            UserError: if a record lacks the field that was named.
        """
        self._lengths.extend(-1 if length is None else length for length in columns["num_input_tokens"])
        fields = [decode(text) for text in columns["fields"]]
        ways: dict[str, Names] = {way: name(columns) for way, name in _WAYS.items()}
        ways["language"] = _name_languages(columns, fields)
        field, key = self._find_field(columns["task"][0], columns["group"][0])
        ways[field] = _name_field(columns["id"], fields, field, key)
        for way, names in ways.items():
            self._divide(way, names, MAX_KEPT if way == field else MAX_VALUES)
        self._num_rows += len(columns["id"])

    def close(self) -> Slices:
        """Return the parts of every way that gives at least two that are large enough."""
        found: dict[tuple[str, str], Sequence[int]] = {}
        ways = {"prompt length": _divide_lengths(self._lengths), **self._places}
        for way, places in ways.items():
            large = [name for name, rows in (places or {}).items() if len(rows) >= MIN_SLICE_ROWS]
            if places and len(large) > 1:
                large = sorted(large, key=lambda name: len(places[name]), reverse=True)[:MAX_VALUES]
                found |= {(way, name): places[name] for name in sorted(large)}
        return found

    def _find_field(self, task: str, group: str) -> tuple[str, str | None]:
        key = find_key(self._fields, task, group)
        return (self._fields[key] if key else CATEGORY), key

    def _divide(self, way: str, names: Names, most: int) -> None:
        """Note where each part has rows; a way of too many parts is none, and takes no more room."""
        places = self._places.setdefault(way, {})
        if places is None:
            return
        for place, kinds in enumerate(names, start=self._num_rows):
            for kind in kinds:
                places.setdefault(kind, array("q")).append(place)
        if len(places) > most:
            self._places[way] = None


def find_key(fields: Mapping[str, str], task: str, group: str) -> str | None:
    """Return by which of a config's keys a group goes, its own or that of its task; None: by none."""
    return next((name for name in (group, task) if name in fields), None)


def _divide_lengths(lengths: Sequence[int]) -> dict[str, "array[int]"]:
    """Divide rows into thirds by the tokens of their prompts; -1: not known."""
    numbers = np.asarray(lengths)
    if (numbers < 0).any() or len(np.unique(numbers)) < 3:
        return {}
    first, second = (int(edge) for edge in np.quantile(numbers, [1 / 3, 2 / 3], method="lower"))
    names = (f"1: up to {first} tokens", f"2: up to {second} tokens", f"3: more than {second} tokens")
    parts = np.digitize(numbers, [first, second], right=True)
    return {name: array("q", np.flatnonzero(parts == part).tolist()) for part, name in enumerate(names)}


def _name_targets(columns: Columns) -> Names:
    targets = map(decode, columns["target"])
    return [[str(target)] if isinstance(target, str | int) else [] for target in targets]


def _name_types(columns: Columns) -> Names:
    """Name the types of targets' entities, by their tags, or the names of their attributes."""
    return [_list_types(decode(target)) for target in columns["target"]]


def _list_types(target: Any) -> list[str]:
    if not isinstance(target, dict):
        return []
    if "tags" in target:
        return sorted({tag.removeprefix("B-") for tag in target["tags"] if tag.startswith("B-")})
    return sorted(target)


def _name_scripts(columns: Columns) -> Names:
    """Name the script of most of the question's letters, e.g. `latin`."""
    counts = (Counter(_list_scripts(find_question(messages))) for messages in columns["messages"])
    return [[count.most_common(1)[0][0]] if count else [] for count in counts]


def _list_scripts(text: str) -> Iterator[str]:
    for letter in filter(str.isalpha, text):
        yield unicodedata.name(letter, "UNKNOWN").split()[0].lower()


_WAYS: Mapping[str, Callable[[Columns], Names]] = {
    "target": _name_targets,
    "entity type": _name_types,
    "script": _name_scripts,
}


def _name_languages(columns: Columns, fields: Sequence[Mapping[str, Any] | None]) -> Names:
    """Name languages by the longest field of each record, not by the wording around it where that is known."""
    questions = map(find_question, columns["messages"])
    texts = [(_find_longest(one) or question)[:MAX_CHARACTERS] for one, question in zip(fields, questions, strict=True)]
    texts = [text if len(text.encode(errors="ignore")) >= MIN_BYTES else "" for text in texts]
    return [[] if code == UNKNOWN else [code] for code in identify(texts)]


def _find_longest(fields: Mapping[str, Any] | None) -> str:
    values = [value for name, value in (fields or {}).items() if name != LABELS]
    texts = (" ".join(map(str, value)) if isinstance(value, list) else value for value in values)
    return max((text for text in texts if isinstance(text, str)), key=len, default="")


def _name_field(ids: Sequence[str], fields: Sequence[Mapping[str, Any] | None], field: str, key: str | None) -> Names:
    """Name the values of a field, which each record has to have if it was named by a key of the config."""
    if key:
        setting = f"evaluate.slices.{key}"
        return [
            [] if one is None else [take_field(one, field, row_id, setting)]
            for row_id, one in zip(ids, fields, strict=True)
        ]
    return [[str(one[field])] if one and field in one else [] for one in fields]
