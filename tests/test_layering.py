"""Imports go downwards only; README.md draws the layers, this test holds them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "eshop_ray"

L0 = {"errors", "config", "schema", "parsing", "metrics", "artifacts"}
L1 = {"tasks"}
L2_MODULES = {"cluster", "models", "progress", "reporting"}
L2 = {"data", *L2_MODULES}
L3 = {"training", "inference", "enrichment", "serving", "evaluation"}
L4 = {"experiments"}

ALLOWED = {
    **dict.fromkeys(L0, L0),
    **dict.fromkeys(L1, L0),
    **dict.fromkeys(L2, L0 | L1 | L2_MODULES),
    **dict.fromkeys(L3, L0 | L1 | L2),
    **dict.fromkeys(L4, L0 | L1 | L2 | {"training", "inference", "evaluation"}),
}
ALLOWED["enrichment"] = ALLOWED["enrichment"] | {"inference"}  # the nightly table drives inference

HEAVY = {"ray", "torch", "transformers"}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def get_unit(path: Path) -> str:
    """First name below `eshop_ray`: a package, or a module of its own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def read_modules(node: ast.AST, path: Path) -> Iterator[str]:
    """Dotted names that an import statement may load, `from x import y` as `x.y`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = path.relative_to(ROOT).parent.parts
        base = [*parents[: len(parents) - node.level + 1]] if node.level else []
        yield from (".".join([*base, *([node.module] if node.module else []), alias.name]) for alias in node.names)


def walk_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run on import: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from walk_module_level(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    unit = get_unit(path)
    assert unit in ALLOWED, f"`{unit}` has no layer; give it one here and in the README"
    modules = {name for node in ast.walk(ast.parse(path.read_text())) for name in read_modules(node, path)}
    assert not [name for name in modules if name.split(".")[0] == "jobs"]
    units = {name.split(".")[1] for name in modules if name.startswith("eshop_ray.")}
    assert units <= ALLOWED[unit] | {unit}


@pytest.mark.parametrize(
    "path", [path for path in FILES if get_unit(path) in L0 | L1], ids=lambda path: str(path.relative_to(ROOT))
)
def test_low_layers_import_nothing_heavy(path: Path) -> None:
    nodes = walk_module_level(ast.parse(path.read_text()))
    modules = {name.split(".")[0] for node in nodes for name in read_modules(node, path)}
    assert not modules & HEAVY


def test_no_file_is_named_for_nothing() -> None:
    files = [path for folder in ("eshop_ray", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in files if path.stem in VAGUE_NAMES]
    assert not [path for path in files if path.parent.name in VAGUE_NAMES]
