"""Rows that would teach an evaluation's questions: they name its product or query, or share a rare run of words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from eshop_ray.config import Config
from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data import files
from eshop_ray.data.instructions.choose import set_removed
from eshop_ray.data.instructions.material import Material, read_material
from eshop_ray.data.instructions.material_texts import clean_material, list_texts
from eshop_ray.data.instructions.reading import read_file
from eshop_ray.errors import UserError
from eshop_ray.schema import Row, content_id, encode
from eshop_ray.words import fold_words, list_runs

NUM_WORDS = 8
"""Words of a run. Shorter ones are shared by chance, longer ones are lost by one changed word."""
MAX_OWNERS = 3
"""A run that more texts of the evaluation have is a way of speaking, and tells nothing."""
NAMED = "it names a product or query of an evaluation set"
SHARED = "it shares a rare run of words with an evaluation set"
_TOLD = frozenset({"id", "language", "repaired", "task", "group", "metric", "label", "category"})
"""Fields whose texts are not of one question."""


@dataclass(frozen=True, slots=True)
class Index:
    """What evaluation sets ask about, as far as rows are held against it."""

    keys: frozenset[str]
    runs: frozenset[str]
    """Digests of rare runs."""


def read_index(config: Config) -> Index:
    """Return the index of the evaluation sets that a recipe names.

    Raises:
        UserError: if a file cannot be found or read: rows would be taken for clean that nobody has looked at.
    """
    keys: set[str] = set()
    runs: Counter[str] = Counter()
    for one in _read_material(config):
        keys.update(one.keys)
        runs.update(set(_list_runs(_list_texts(asdict(one)))))
    return Index(frozenset(keys), frozenset(run for run, number in runs.items() if number <= MAX_OWNERS))


def _read_material(config: Config) -> Iterator[Material]:
    for source in config.instructions.decontaminate:
        options = encode({**source.options, "language": "en"})
        for file in files.list_files(config.data.root, source.path):
            described = {"source": source.path, "path": file.path, "format": source.format, "options": options}
            for table in read_file(described):
                yield from _read_sound(table, config.instructions.text_cleaning)


def _read_sound(table: pa.Table, section: TextCleaningSection | None) -> Iterator[Material]:
    """Yield material as rows will be made of it."""
    for row in (clean_material(table, section) if section else table).to_pylist():
        if row["kind"]:
            yield read_material(row["kind"], row["data"])
        elif row["reason"] and "unreadable" in row["reason"]:
            raise UserError(f"`instructions.decontaminate`: {row['path']}: {row['reason']}")


def mark_contaminated(table: pa.Table, index: Index) -> pa.Table:
    """Mark the rows of a table (columns of `CANDIDATE_SCHEMA`) that an evaluation would be learned from."""
    columns = (table[name].to_pylist() for name in ("messages", "keys", "removed"))
    rows = zip(*columns, strict=True)
    return set_removed(table, [removed or _find_reason(messages, keys, index) for messages, keys, removed in rows])


def _find_reason(messages: Iterable[Row], keys: Iterable[str] | None, index: Index) -> str | None:
    if not index.keys.isdisjoint(keys or ()):
        return NAMED
    texts = (turn["content"] for turn in messages if turn["role"] != "system")
    return SHARED if index.runs and not index.runs.isdisjoint(_list_runs(texts)) else None


def _list_runs(texts: Iterable[str]) -> Iterator[str]:
    return (content_id(run) for text in texts for run in list_runs(fold_words(text), NUM_WORDS))


def _list_texts(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if name not in _TOLD:
            yield from list_texts(value)
