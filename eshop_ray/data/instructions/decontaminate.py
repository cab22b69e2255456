"""Rows that would teach an evaluation's questions: they name its product or query, or share a text or a rare run of
words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from eshop_ray.config import Config
from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data import files
from eshop_ray.data.instructions.choose import set_removed
from eshop_ray.data.instructions.content_words import find_content
from eshop_ray.data.instructions.material import Material, read_material, text_key
from eshop_ray.data.instructions.material_texts import clean_material, list_texts
from eshop_ray.data.instructions.reading import read_file
from eshop_ray.errors import UserError
from eshop_ray.schema import Row, content_id, encode
from eshop_ray.words import fold_words, list_runs

NUM_WORDS = 8
"""Words of a run. Shorter ones are shared by chance, longer ones are lost by one changed word."""
MAX_OWNERS = 3
"""A run that more texts of the evaluation have is a way of speaking, and tells nothing; nor does a whole text that more
of its products have."""
NAMED = "it names a product or query of an evaluation set"
SAID = "it has a text of an evaluation set"
SHARED = "it shares a rare run of words with an evaluation set"
_TOLD = frozenset({"id", "language", "repaired", "task", "group", "metric", "label", "category"})
"""Fields whose texts are not of one question."""
_ASKED = frozenset({"question", "query", "prompt"})
"""Fields that are a question in few words too."""
_PHRASES = frozenset({"evidence", "attribute", "attributes", "bullets", "brand"})
"""Fields that say of many products the same, such as that batteries are included."""
_FEWEST_ASKED, _FEWEST_SAID = 1, 3
"""Words, mere grammar apart, that a whole text must have to tell of one question: "yes, it does" tells of none."""
_MAX_EXAMPLES = 3
_NOTHING = text_key("")


@dataclass(frozen=True, slots=True)
class Index:
    """What evaluation sets ask about, as far as rows are held against it."""

    keys: frozenset[str]
    runs: frozenset[str]
    """Digests of rare runs."""
    texts: frozenset[str] = frozenset()
    """Keys of whole texts, short ones too."""
    num_malformed: Mapping[str, int] = field(default_factory=dict)
    """Path of a set -> rows that could not be read, against which nothing is held."""
    malformed_examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Path of a set -> `file:line: reason` of some."""


def read_index(config: Config) -> Index:
    """Return the index of the evaluation sets that a recipe names.

    Raises:
        UserError: if a file cannot be found or read, or no row of a set can: rows would be taken for clean that nobody
            has looked at.
    """
    keys: set[str] = set()
    texts: defaultdict[str, set[str]] = defaultdict(set)
    owners: Counter[str] = Counter()
    seen: set[str] = set()
    malformed: defaultdict[str, list[str]] = defaultdict(list)
    for found in _read_material(config):
        if isinstance(found, _Unread):
            malformed[found.path].append(found.line)
            continue
        keys.update(found.keys)
        for name, text in _list_texts(asdict(found)):
            words = fold_words(text)
            if _is_telling(name, text):
                texts[text_key(text)].add(found.keys[0])
            # Of one question there may be many pieces of material: a text is one owner, however often it stands there.
            if (digest := content_id(" ".join(words))) not in seen:
                seen.add(digest)
                owners.update({content_id(run) for run in list_runs(words, NUM_WORDS)})
    return Index(
        frozenset(keys - {_NOTHING}),
        frozenset(run for run, number in owners.items() if number <= MAX_OWNERS),
        frozenset(text for text, named in texts.items() if len(named) <= MAX_OWNERS),
        {path: len(lines) for path, lines in malformed.items()},
        {path: lines[:_MAX_EXAMPLES] for path, lines in malformed.items()},
    )


@dataclass(frozen=True, slots=True)
class _Unread:
    """A row of an evaluation set that could not be read."""

    path: str
    """Of the set."""
    line: str
    """`file:line: reason`."""


def _read_material(config: Config) -> Iterator[Material | _Unread]:
    for source in config.instructions.decontaminate:
        options = encode({**source.options, "language": "en"})
        is_read = False
        for file in files.list_files(config.data.root, source.path):
            described = {"source": source.path, "path": file.path, "format": source.format, "options": options}
            for table in read_file(described):
                for found in _read_sound(table, config.instructions.text_cleaning):
                    is_read = is_read or not isinstance(found, _Unread)
                    yield found
        if not is_read:
            raise UserError(f"`instructions.decontaminate`: {source.path}: no row in it could be read")


def _read_sound(table: pa.Table, section: TextCleaningSection | None) -> Iterator[Material | _Unread]:
    """Yield material as rows will be made of it."""
    for row in (clean_material(table, section) if section else table).to_pylist():
        if row["kind"]:
            yield read_material(row["kind"], row["data"])
        elif row["reason"] and "unreadable" in row["reason"]:
            raise UserError(f"`instructions.decontaminate`: {row['path']}: {row['reason']}")
        elif row["reason"]:
            yield _Unread(row["source"], f"{row['path']}:{row['line']}: {row['reason']}")


def mark_contaminated(table: pa.Table, index: Index) -> pa.Table:
    """Mark the rows of a table (columns of `CANDIDATE_SCHEMA`) that an evaluation would be learned from."""
    columns = (table[name].to_pylist() for name in ("messages", "keys", "texts", "removed"))
    rows = zip(*columns, strict=True)
    return set_removed(table, [gone or _find_reason(turns, keys, texts, index) for turns, keys, texts, gone in rows])


def _find_reason(
    messages: Iterable[Row], keys: Iterable[str] | None, texts: Iterable[str] | None, index: Index
) -> str | None:
    keys, texts = keys or (), texts or ()
    if not index.keys.isdisjoint(keys):
        return NAMED
    if not (index.texts.isdisjoint(texts) and index.texts.isdisjoint(keys)):
        return SAID
    shown = (turn["content"] for turn in messages if turn["role"] != "system")
    return SHARED if index.runs and not index.runs.isdisjoint(_list_runs(shown)) else None


def _is_telling(name: str, text: str) -> bool:
    """Whether a whole text of a field tells of one question."""
    return name not in _PHRASES and len(find_content(text)) >= (_FEWEST_ASKED if name in _ASKED else _FEWEST_SAID)


def _list_runs(texts: Iterable[str]) -> Iterator[str]:
    return (content_id(run) for text in texts for run in list_runs(fold_words(text), NUM_WORDS))


def _list_texts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the field of each text of material, and the text."""
    for name, value in values.items():
        if name not in _TOLD:
            yield from ((name, text) for text in list_texts(value))
