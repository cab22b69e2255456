"""A table's columns and their types, as its log states them, ready to be compared."""

import json
from collections.abc import Mapping


def describe_types(schema: str) -> Mapping[str, str]:
    """Column -> its Delta type, without nullability and comments."""
    return {field["name"]: json.dumps(_plain(field["type"])) for field in json.loads(schema)["fields"]}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: _plain(part) for name, part in value.items() if name not in {"nullable", "containsNull", "metadata"}
        }
    return [_plain(part) for part in value] if isinstance(value, list) else value
