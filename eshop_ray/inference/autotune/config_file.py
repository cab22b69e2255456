"""Changing single values of a YAML file, and not one byte besides: comments, order and line ends stay."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eshop_ray.artifacts import write_text
from eshop_ray.errors import UserError

NULL = "tag:yaml.org,2002:null"


def check_writable(path: Path) -> None:
    """See that the config can be changed, before anything expensive starts.

    Raises:
        UserError: if it cannot.
    """
    if not (os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)):
        raise UserError(
            f"config {path}: cannot be written, and the settings that are found belong there; make it writable, "
            "or only have them told: autotune.write=false"
        )


def edit_config(path: Path, values: Mapping[str, int | None]) -> None:
    """Set `section.field` keys in a config file.

    Raises:
        UserError: with the keys and values, if the file's form does not allow it.
    """
    with path.open(newline="") as stream:
        text = edited = stream.read()
    wanted: Any = yaml.safe_load(text)
    try:
        for key, value in values.items():
            wanted = _with_value(wanted, key.split("."), value)
            edited = set_value(edited, key.split("."), value)
        is_right = yaml.safe_load(edited) == wanted
    except (yaml.YAMLError, ValueError):
        is_right = False
    if not is_right:  # an alias, for one: a change where it points to would change something else too
        settings = ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
        raise UserError(f"config {path}: cannot be changed in place, its form is unusual; set there: {settings}")
    target, mode = path.resolve(), path.stat().st_mode
    write_text(target, edited)
    target.chmod(mode)


def set_value(text: str, keys: Sequence[str], value: int | None) -> str:
    """Return YAML text with one value set; a key that is not there goes to the end of its section.

    Raises:
        ValueError: if the key stands below something that is no section.
    """
    node: Any = yaml.compose(text, yaml.SafeLoader)
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):
            if node is None or node.tag != NULL:
                raise ValueError(key)
            return _replace(text, node, "{" + _write(keys[depth:], value) + "}")
        found = [inner for name, inner in node.value if name.value == key]
        if not found:
            return _append(text, node, _write(keys[depth:], value))
        node = found[-1]
    return _replace(text, node, json.dumps(value))


def _with_value(values: Any, keys: Sequence[str], value: int | None) -> dict[str, Any]:
    """Copy what is on the way, so that what an alias shares stays as it was elsewhere."""
    inner = values or {}
    return {**inner, keys[0]: _with_value(inner.get(keys[0]), keys[1:], value) if keys[1:] else value}


def _write(keys: Sequence[str], value: int | None) -> str:
    """Return `key: value`, further keys in braces."""
    return f"{keys[0]}: " + ("{" + _write(keys[1:], value) + "}" if keys[1:] else json.dumps(value))


def _replace(text: str, node: yaml.Node, value: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    return text[:start] + (" " if start == end else "") + value + text[end:]


def _append(text: str, node: yaml.MappingNode, item: str) -> str:
    """Add an item behind a mapping's last one, in the style of the mapping."""
    if node.flow_style:
        end = node.value[-1][1].end_mark.index if node.value else node.start_mark.index + 1
        return text[:end] + (", " if node.value else "") + item + text[end:]
    newline = "\r\n" if "\r\n" in text else "\n"
    end = _find_end(node)
    if text[end - 1] != "\n":
        line_end = text.find("\n", end)
        if line_end < 0:
            text, line_end = text + newline, len(text + newline) - 1
        end = line_end + 1
    return text[:end] + " " * node.start_mark.column + item + newline + text[end:]


def _find_end(node: yaml.Node) -> int:
    """Return where the text of a node ends; the end that YAML notes for a block lies behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)
