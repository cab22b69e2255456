"""The keys of a config file, read from the code: `section.field`, its type, its default, what it means."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null", Any: "anything"}
"""Python's types as a person who writes YAML calls them."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key that a config may set."""

    name: str
    """Dotted: `section.field`, or `field` at the top of the file."""
    kind: str
    """What it takes, in words."""
    is_required: bool
    default: Any
    meaning: str
    """The docstring under the field."""
    is_open: bool
    """Whether keys of another program may stand below it: `infer.engine_kwargs.max_num_seqs`."""


def list_keys(section: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a section and of the sections in it, in the order in which the code names them."""
    for name, field in section.model_fields.items():
        inner = find_section(field)
        if inner is None or field.is_required() or not isinstance(field.annotation, type):
            yield _to_key(prefix + name, field)
        if inner is not None:
            yield from list_keys(inner, f"{prefix}{name}.")


def list_sections(config: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the sections of a config file by name."""
    found = {name: find_section(field) for name, field in config.model_fields.items()}
    return {name: section for name, section in found.items() if section is not None}


def find_section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field is, or that it lists; None for a plain value."""
    for inner in (field.annotation, *get_args(field.annotation)):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return None


def describe_type(annotation: Any) -> str:
    """Write a type as words: `Literal["a", "b"]` becomes "`a` or `b`"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return ", or ".join(dict.fromkeys(describe_type(argument) for argument in arguments))
    if origin is tuple:
        inner = [describe_type(argument) for argument in arguments if argument is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in arguments else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"mapping of {describe_type(arguments[0])} to {describe_type(arguments[1])}"
    if origin is not None and hasattr(annotation, "__metadata__"):  # Annotated: a type with limits
        return describe_type(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"mapping ({', '.join(f'`{name}`' for name in annotation.model_fields)})"
    return WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def to_plain(default: Any) -> Any:
    """Return a default as a YAML file has it: of a section that may be null, its keys."""
    return default.model_dump(mode="json") if isinstance(default, BaseModel) else default


def _to_key(name: str, field: FieldInfo) -> Key:
    return Key(
        name=name,
        kind=describe_type(field.annotation),
        is_required=field.is_required(),
        default=None if field.is_required() else to_plain(field.get_default(call_default_factory=True)),
        meaning=" ".join((field.description or "").split()),
        is_open=dict in (get_origin(inner) for inner in (field.annotation, *get_args(field.annotation))),
    )
