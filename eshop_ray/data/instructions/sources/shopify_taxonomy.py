"""Shopify's product taxonomy: categories, their attributes and values, with localised names and Google's categories.

The path names `categories.jsonl`. `attributes.jsonl`, `values.jsonl` and `google_mapping.jsonl` beside it give the
categories their attributes' names, the attributes their values' names, and the categories those of Google.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from eshop_ray.data.formats.json_text import read_json
from eshop_ray.data.instructions.material import Attribute, Category, Material
from eshop_ray.data.instructions.sources.beside import read_beside
from eshop_ray.data.sources.required import parse_row
from eshop_ray.schema import Malformed, Row

LANGUAGES = ("en", "de", "fr", "es", "ja")
VALUES, ATTRIBUTES, GOOGLE = BESIDE = ("values.jsonl", "attributes.jsonl", "google_mapping.jsonl")
"""Files beside the one that the path names."""

Names = Mapping[str, str]
"""Language -> name."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:  # noqa: ARG001
    """Yield a `Category` for each line, then an `Attribute` for each of `attributes.jsonl`."""
    values: dict[str, Names] = {}
    attributes: dict[str, Attribute] = {}
    google: dict[str, tuple[str, ...]] = {}
    yield from read_beside(path, VALUES, _read_value, values)
    yield from read_beside(path, ATTRIBUTES, partial(_read_attribute, values=values), attributes)
    yield from read_beside(path, GOOGLE, _read_google, google)
    parse = partial(_read_category, paths={}, attributes=attributes, google=google)
    for found in read_json(stream, path):
        yield found if isinstance(found, Malformed) else parse_row(path, *found, parse)
    yield from attributes.values()


def _read_category(
    path: str,
    number: int,
    row: Row,
    paths: dict[str, Mapping[str, tuple[str, ...]]],
    attributes: Mapping[str, Attribute],
    google: Mapping[str, tuple[str, ...]],
) -> Category | Malformed:
    """Return a category, in the languages in which all of its path has names; a parent stands before its children."""
    names, parent = _read_names(row), row["parent_id"]
    if parent and parent not in paths:
        return Malformed(path, number, f"its parent {str(parent)[:60]!r} is none of the categories before it")
    above: Mapping[str, tuple[str, ...]] = paths[parent] if parent else dict.fromkeys(LANGUAGES, ())
    own = {language: (*above[language], name) for language, name in names.items() if language in above}
    told = [attributes[name].names for name in _read_list(row, "attributes") if name in attributes]
    category = Category(
        id=_read_text(row, "id"),
        path=own,
        attributes={
            language: tuple(one[language] for one in told)
            for language in own
            if all(language in one for one in told)  # of some of them it would be a wrong answer
        },
        is_leaf=bool(row["leaf"]),
        google=google.get(row["id"], ()),
    )
    paths[category.id] = own
    return category


def _read_names(row: Row) -> dict[str, str]:
    names = {language: name.strip() for language in LANGUAGES if (name := row["names"].get(language))}
    if not names.get("en"):
        raise ValueError("it has no English name")
    return {language: name for language, name in names.items() if name}


def _read_value(path: str, number: int, row: Row) -> tuple[str, Names]:  # noqa: ARG001
    return _read_text(row, "id"), _read_names(row)


def _read_google(path: str, number: int, row: Row) -> tuple[str, tuple[str, ...]]:  # noqa: ARG001
    return _read_text(row, "shopify_id"), tuple(name.strip() for name in _read_list(row, "google_paths"))


def _read_attribute(path: str, number: int, row: Row, values: Mapping[str, Names]) -> tuple[str, Attribute]:  # noqa: ARG001
    named = [value["id"] for value in _read_list(row, "values")]
    known = (values[one] for one in named if one in values and not _is_rest(one))
    own = [names for names in known if all(language in names for language in LANGUAGES)]
    description = row.get("description")
    return row["id"], Attribute(
        id=_read_text(row, "id"),
        names=_read_names(row),
        values={language: tuple(one[language] for one in own) for language in LANGUAGES},
        description=description if isinstance(description, str) else "",
    )


def _read_text(row: Row, name: str) -> str:
    found = row[name]
    if not isinstance(found, str):
        raise TypeError(f"`{name}` is no text")
    return found


def _read_list(row: Row, name: str) -> list[Any]:
    """Return a list that a row may lack."""
    found = row.get(name) or []
    if not isinstance(found, list):
        raise TypeError(f"`{name}` is no list")
    return found


def _is_rest(value_id: str) -> bool:
    """Whether a value stands for all that have none of their own."""
    return value_id.endswith("__other")
