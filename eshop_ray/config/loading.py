"""YAML and command line -> `Config`, with errors that name the key and the nearest valid one."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eshop_ray.config.sections import Config
from eshop_ray.errors import UserError, find_nearest
from eshop_ray.places import PRIVATE_DIR, make_folder, uri_of
from eshop_ray.secrets import hide_given, hide_secrets

Model = TypeVar("Model", bound=BaseModel)

CONFIG = "config.yaml"
"""In the run directory: the config of its last job."""


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `section.field=value` overrides (values are YAML).

    Raises:
        UserError: naming the file and the key, with the nearest valid key for a misspelt one.
    """
    return read_yaml(path, Config, "config", "sections such as `data:` and `train:`", overrides)


def read_yaml(path: str, model: type[Model], kind: str, content: str, overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file that holds the fields of a model, with overrides.

    Args:
        path: The file.
        model: What it is read as.
        kind: What messages call the file.
        content: What they say that it holds.
        overrides: `section.field=value` each.

    Raises:
        UserError: naming the file and the key, with the nearest valid key for a misspelt one.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{kind} {path}: {error.strerror}; give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{kind} {path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{kind} {path}: expected {content}, found {type(values).__name__}")
    for override in overrides:
        _apply_override(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{kind} {path}: {explain_errors(error, model)}") from error


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` settings as nested values.

    Raises:
        UserError: if one is not written so.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        _apply_override(values, setting)
    return values


def write_config(config: Config) -> None:
    """Write the resolved config into the run directory, so that a run explains itself; its secrets are left out.

    A run directory may hold customers' texts: a new one is for its owner only.

    Raises:
        UserError: if the run directory cannot be written.
    """
    try:
        if uri_of(config.run_dir):
            make_folder(config.run_dir.parent)
        config.run_dir.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        staged = config.run_dir / ".config.yaml.partial"
        staged.write_text(render_config(config, is_hidden=True))
        staged.replace(config.run_dir / CONFIG)
    except OSError as error:
        raise UserError(
            f"run directory {config.run_dir}: {error.strerror}; set `run_root` to a folder you may write"
        ) from error


def render_config(config: Config, is_hidden: bool) -> str:
    """Return a config as YAML, with its secrets or with a mark in their place."""
    values = config.model_dump(mode="json")
    return yaml.safe_dump(hide_secrets(values) if is_hidden else values, sort_keys=False, allow_unicode=True)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"override {override!r}: write it as section.field=value")
    *sections, field = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"override {override!r}: `{section}` is a value, not a section")
        values = inner
    try:
        values[field] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r}: the value is not valid YAML") from error


def explain_errors(error: ValidationError, section: type[BaseModel]) -> str:
    """Return what is wrong with the values of a section, with the nearest valid key for a misspelt one."""
    return "; ".join(_explain(detail, section) for detail in error.errors())


def _explain(detail: Mapping[str, Any], section: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        given = hide_given(detail["input"], str(detail["loc"][-1]))
        return f"`{key}`: {detail['msg']} (given: {given!r})"
    without_numbers = ".".join(part for part in detail["loc"] if isinstance(part, str))
    nearest = find_nearest(without_numbers, _known_keys(section))
    return f"unknown key `{key}`; did you mean `{nearest}`?"


def _known_keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _known_keys(inner, f"{prefix}{name}.")
