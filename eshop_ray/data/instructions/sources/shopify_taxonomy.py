"""Shopify's product taxonomy: categories, their attributes and values, with localised names and Google's categories.

The path names `categories.jsonl`. `attributes.jsonl`, `values.jsonl` and `google_mapping.jsonl` beside it give the
categories their attributes' names, the attributes their values' names, and the categories those of Google.
"""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.formats.json_text import read_json
from eshop_ray.data.instructions.material import Attribute, Category, Material
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

LANGUAGES = ("en", "de", "fr", "es", "ja")


def _is_rest(value_id: str) -> bool:
    """Whether a value stands for all that have none of their own."""
    return value_id.endswith("__other")


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:  # noqa: ARG001
    """Yield a `Category` for each line, then an `Attribute` for each of `attributes.jsonl`."""
    attributes = {row["id"]: row for row in _read_beside(path, "attributes.jsonl")}
    google = {row["shopify_id"]: row["google_paths"] for row in _read_beside(path, "google_mapping.jsonl")}
    paths: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for found in read_json(stream, path):
        if isinstance(found, Malformed):
            yield found
            continue
        number, row = found
        try:
            yield _read_category(row, paths, attributes, google)
        except (KeyError, TypeError) as error:
            yield Malformed(path, number, f"no category: {type(error).__name__}: {error}")
    values = {row["id"]: row["names"] for row in _read_beside(path, "values.jsonl")}
    yield from (_read_attribute(row, values) for row in attributes.values())


def _read_category(
    row: Row,
    paths: dict[str, Mapping[str, tuple[str, ...]]],
    attributes: Mapping[str, Row],
    google: Mapping[str, list[str]],
) -> Category:
    """Return a category; a parent stands before its children."""
    above = paths.get(row["parent_id"] or "", {})
    paths[row["id"]] = {
        language: (*above.get(language, ()), row["names"][language])
        for language in LANGUAGES
        if language in row["names"]
    }
    own = [attributes[name]["names"] for name in row["attributes"] if name in attributes]
    return Category(
        id=row["id"],
        path=paths[row["id"]],
        attributes={language: tuple(one[language] for one in own if language in one) for language in LANGUAGES},
        is_leaf=bool(row["leaf"]),
        google=tuple(google.get(row["id"], ())),
    )


def _read_attribute(row: Row, values: Mapping[str, Mapping[str, str]]) -> Attribute:
    named = (values[value["id"]] for value in row["values"] if value["id"] in values and not _is_rest(value["id"]))
    own = [names for names in named if all(language in names for language in LANGUAGES)]
    return Attribute(
        id=row["id"],
        names=row["names"],
        values={language: tuple(one[language] for one in own) for language in LANGUAGES},
        description=row.get("description") or "",
    )


def _read_beside(path: str, name: str) -> list[Row]:
    """Return the rows of a file in the same folder, none where there is no such file."""
    base, question_mark, query = path.partition("?")
    try:
        (file, *_) = list_files("", f"{base.rpartition('/')[0]}/{name}{question_mark}{query}")
    except UserError:
        return []
    with open_bytes(file.path) as stream:
        return [found[1] for found in read_json(stream, file.path) if not isinstance(found, Malformed)]
