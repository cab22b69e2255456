"""What may not be written down or said: keys in URIs, and values whose names say that they are secret."""

import re
from typing import Any

HIDDEN = "***"
"""Stands in a secret's place."""

_NAME = re.compile(
    r"(?:^|[_-])(?:token|secret|password|passwd|pwd|credentials?|authorization|auth|bearer|api[_-]?key|access[_-]?key(?:[_-]id)?"
    r"|secret[_-]?key|private[_-]?key|account[_-]?key|sas)$",
    re.IGNORECASE,
)
_USER = re.compile(r"(://)[^/@\s?]+@")
_QUERY = re.compile(r"(://[^\s?]*\?)[^\s]+")
_HARMLESS = re.compile(r"(?:(?:endpoint_override|region|scheme|allow_bucket_creation)=[^&\s]*&?)+")
"""A query that only tells where a store is."""


def hide_in_text(text: str) -> str:
    """Return a text without the users, passwords and queries of its URIs."""
    if "://" not in text:
        return text
    return _QUERY.sub(_hide_query, _USER.sub(rf"\1{HIDDEN}@", text))


def hide_secrets(value: Any, name: str = "") -> Any:
    """Return a value as YAML or JSON holds it, with every secret in it replaced by `HIDDEN`.

    Args:
        value: Of any depth.
        name: The key that it stands under.
    """
    if isinstance(value, dict):
        return {key: hide_secrets(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(inner, name) for inner in value]
    if isinstance(value, str):
        return HIDDEN if value and _NAME.search(name) else hide_in_text(value)
    return value


def hide_given(value: Any, name: str) -> Any:
    """Return a value that was refused, for a message: where the name of a variable belongs, a key may stand."""
    return HIDDEN if name.endswith("_env") else hide_secrets(value, name)


def _hide_query(match: re.Match[str]) -> str:
    query = match[0][len(match[1]) :]
    return match[0] if _HARMLESS.fullmatch(query) else match[1] + HIDDEN
