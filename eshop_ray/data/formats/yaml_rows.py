"""YAML: a list of rows, or a document with such a list within. Values that only look like numbers stay text."""

import re
from collections.abc import Iterator
from typing import IO, Any

import yaml

from eshop_ray.data.formats.json_text import WRAPPERS
from eshop_ray.data.formats.limits import MAX_EXPANDED_NODES, read_document
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, is_text

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_LEVELS = 30


class _RowLoader(_Loader):  # type: ignore[misc]
    """Reads `007`, `12:30`, `No` and `2024-01-02` as they are written: of a shop they are names and ids."""


_RowLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_RowLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false|True|False)\Z"), list("tfTF"))
_RowLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9]\d*)\Z"), list("-0123456789"))
_RowLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(?:0|[1-9]\d*)\.\d+(?:[eE][-+]?\d+)?\Z"), list("-0123456789")
)


def read_yaml(stream: IO[bytes], path: str, records: str | None = None) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based line where it begins, row).

    Args:
        stream: The file's bytes, unpacked.
        path: The file's, for messages.
        records: Key of the list in a document, dotted; None: the document itself, or the first usual name.

    Raises:
        UserError: if the file is not valid YAML, expands beyond `MAX_EXPANDED_NODES`, or has no list of rows.
    """
    loader = _RowLoader(read_document(stream, path))
    try:
        root = loader.get_single_node()
        _check_size(root, path)
        for node in _find_rows(root, path, records):
            yield _construct(loader, node, path)
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be a list of products") from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error  # a wrong tag breaks PyYAML in many ways
    finally:
        loader.dispose()


def _construct(loader: Any, node: yaml.Node, path: str) -> tuple[int, Row] | Malformed:
    number = node.start_mark.line + 1
    try:
        row = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) and error.problem else error
        return Malformed(path, number, f"not valid YAML: {problem}")
    if not isinstance(row, dict):
        return Malformed(path, number, f"expected a mapping, found {type(row).__name__}")
    return (number, row) if is_text(str(row)) else Malformed(path, number, "not UTF-8")


def _check_size(root: yaml.Node | None, path: str) -> None:
    """Refuse a document whose aliases make much of little, or that holds itself."""
    sizes: dict[int, int] = {}
    stack = [(root, False)] if root is not None else []
    open_nodes: set[int] = set()
    while stack:
        node, is_left = stack.pop()
        children = list(_children(node))
        if is_left:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        elif id(node) not in sizes:
            if id(node) in open_nodes:
                continue
            open_nodes.add(id(node))
            stack.append((node, True))
            for child in children:
                if id(child) in open_nodes:
                    raise UserError(f"{path}:{node.start_mark.line + 1}: a value holds itself by an alias")
                stack.append((child, False))
    if root is not None and sizes[id(root)] > MAX_EXPANDED_NODES:
        raise UserError(
            f"{path}: its aliases stand for {sizes[id(root)]:,} values, more than {MAX_EXPANDED_NODES:,} "
            "(MAX_EXPANDED_NODES); write the rows out, or export JSON Lines"
        )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _find_rows(root: yaml.Node | None, path: str, records: str | None) -> list[yaml.Node]:
    node = root
    if records and "*" in records:
        return _find_lists(root, records.split("."))
    if records:
        for name in records.split("."):
            node = _get(node, name)
    elif isinstance(node, yaml.MappingNode):
        node = next((found for name in WRAPPERS if isinstance(found := _get(node, name), yaml.SequenceNode)), node)
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    where = f"under `{records}`" if records else "of products"
    keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    present = f"the keys {', '.join(map(str, keys[:20]))}" if keys else "none"
    raise UserError(f"{path}: expected a YAML list {where}, found {present}")


def _find_lists(node: yaml.Node | None, keys: list[str]) -> list[yaml.Node]:
    """Return the elements of all lists under a path in which `*` stands for any key."""
    if not keys:
        return list(node.value) if isinstance(node, yaml.SequenceNode) else []
    first, *rest = keys
    values: list[yaml.Node | None]
    if first == "*":
        values = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []
    else:
        values = [_get(node, first)]
    return [found for value in values for found in _find_lists(value, rest)]


def _get(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)
