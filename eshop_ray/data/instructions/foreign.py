"""Rows in other languages than English that read as yet another one: columns mixed up, names not translated."""

from collections import defaultdict

import pyarrow as pa

from eshop_ray.data.instructions.candidates import MULTILINGUAL, PASSED_ON
from eshop_ray.data.instructions.choose import set_removed
from eshop_ray.data.language import LANGUAGES, identify
from eshop_ray.schema import Row

FOREIGN = "it reads as another language"
SHARED = "en"
"""Reading as this is no fault: a question in Italian may be about products whose titles are English."""


def mark_foreign(table: pa.Table) -> pa.Table:
    """Mark the rows of a table (columns of `CANDIDATE_SCHEMA`) whose question and answer are in another language."""
    rows = table.select(["route", "language", "messages", "removed"]).to_pylist()
    by_language: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        is_told = row["route"] in (MULTILINGUAL, PASSED_ON) and row["language"] != SHARED
        if is_told and row["removed"] is None and row["language"] in LANGUAGES:
            by_language[row["language"]].append(place)
    removed = [row["removed"] for row in rows]
    for language, places in by_language.items():
        found = identify((_join_turns(rows[place]) for place in places), LANGUAGES)
        for place, code in zip(places, found, strict=True):
            removed[place] = None if code in (language, SHARED) else FOREIGN
    return set_removed(table, removed)


def _join_turns(row: Row) -> str:
    return "\n".join(turn["content"] for turn in row["messages"] if turn["role"] != "system")
