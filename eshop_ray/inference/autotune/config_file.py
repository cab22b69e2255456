"""Setting values in a config file of a person's own: comments, order and all other values stay."""

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.util import load_yaml_guess_indent

from eshop_ray.artifacts import write_text
from eshop_ray.errors import UserError

NO_WRAP = 1 << 20
"""Columns of a line: one that a person left long stays long."""


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
    """Set `section.field` keys in a config file, whole or not at all.

    Raises:
        UserError: with the keys and values, if the file's form does not allow it.
    """
    with path.open(newline="") as stream:
        text = stream.read()
    wanted: Any = yaml.safe_load(text)
    for key, value in values.items():
        wanted = _with_value(wanted, key.split("."), value)
    try:
        edited = set_values(text, values)
        is_right = yaml.safe_load(edited) == wanted
    except (yaml.YAMLError, YAMLError, TypeError):
        is_right = False
    if not is_right:  # an alias, for one: a change where it points to would change something else too
        settings = ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
        raise UserError(f"config {path}: cannot be changed in place, its form is unusual; set there: {settings}")
    target, mode = path.resolve(), path.stat().st_mode
    write_text(target, edited)
    target.chmod(mode)


def set_values(text: str, values: Mapping[str, int | None]) -> str:
    """Return YAML text with values set; a key that is not there goes to the end of its section."""
    document = YAML()
    document.preserve_quotes, document.width = True, NO_WRAP
    document.representer.add_representer(type(None), _write_null)
    content, sequence, offset = load_yaml_guess_indent(text.replace("\r\n", "\n"), yaml=document)
    mapping = re.search(r"^ +(?=[^\s#-])", text, re.MULTILINE)
    document.indent(len(mapping.group()) if mapping else 2, sequence, offset)
    content = {} if content is None else content
    for key, value in values.items():
        *sections, name = key.split(".")
        section = content
        for inner in sections:
            if section.get(inner) is None:
                section[inner] = {}
            section = section[inner]
        section[name] = value
    stream = io.StringIO()
    document.dump(content, stream)
    return stream.getvalue().replace("\n", "\r\n" if "\r\n" in text else "\n")


def _write_null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _with_value(values: Any, keys: Sequence[str], value: int | None) -> dict[str, Any]:
    """Copy what is on the way, so that what an alias shares stays as it was elsewhere."""
    inner = values or {}
    return {**inner, keys[0]: _with_value(inner.get(keys[0]), keys[1:], value) if keys[1:] else value}
