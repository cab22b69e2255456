"""Imports go downwards only, and never in a circle; docs/architecture.md draws the layers, this test holds them."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "eshop_ray"

L0 = {"errors", "secrets", "places", "storage", "config", "schema", "parsing", "words", "artifacts", "append_log"}
L1 = {"tasks"}
L2_MODULES = {"cluster", "datasets", "exchange", "map_tasks", "models", "progress", "reporting"}
L2 = {"data", "sample_shop", *L2_MODULES}
L3 = {"training", "inference", "enrichment", "serving", "evaluation"}
L4 = {"jobs"}
TOP = {"cli", "__main__"}

BELOW_L3 = L0 | L1 | L2
ALLOWED: Mapping[str, set[str]] = {
    **dict.fromkeys(L0, L0),
    **dict.fromkeys(L1, L0),
    **dict.fromkeys(L2_MODULES, L0 | L1 | L2_MODULES),
    **dict.fromkeys({"data", "sample_shop"}, L0 | L1 | L2),
    **dict.fromkeys({"training", "inference"}, BELOW_L3),
    **dict.fromkeys({"enrichment", "serving"}, BELOW_L3 | {"inference"}),
    "evaluation": BELOW_L3 | {"training", "inference"},
    **dict.fromkeys(L4, BELOW_L3 | L3),
    **dict.fromkeys(TOP, BELOW_L3 | L3 | L4 | TOP),
}

HEAVY = {"ray", "torch", "transformers"}
VAGUE_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}


def module_name(path: Path) -> str:
    """Dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def get_unit(module: str) -> str:
    """First name below `eshop_ray`: a package, or a module of its own."""
    return module.split(".")[1]


def read_modules(node: ast.AST) -> Iterator[str]:
    """Modules that a node loads: by an import statement, or by a string that is the name of one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports are not used here"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in MODULES else str(node.module)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        name = node.value
        is_job = name.startswith("jobs.") and (ROOT / "jobs" / f"{name.removeprefix('jobs.')}.py").is_file()
        if is_job or (name in MODULES and "." in name):
            yield name


def walk_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run on import: everything outside functions, and what is there for type checkers only."""
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not is_for_types and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from walk_module_level(child)


def find_imports(module: str) -> set[str]:
    """Every module that a module loads anywhere, function bodies included."""
    return {name for node in ast.walk(parse(MODULES[module])) for name in read_modules(node)}


BELOW_ROOT = [module for module in MODULES if module != "eshop_ray"]


def test_every_package_has_a_layer() -> None:
    missing = {get_unit(module) for module in BELOW_ROOT} - set(ALLOWED)
    assert not missing, f"no layer for {sorted(missing)}: give it one here and in docs/architecture.md"


def test_imports_go_downwards() -> None:
    wrong = []
    for module in BELOW_ROOT:
        unit = get_unit(module)
        for name in sorted(find_imports(module)):
            is_ours = name.startswith("eshop_ray.")
            if name.split(".")[0] == "jobs" or (is_ours and get_unit(name) not in ALLOWED[unit] | {unit}):
                wrong.append(f"{module} imports {name}: `{unit}` may import {', '.join(sorted(ALLOWED[unit]))}")
    assert not wrong, "\n".join(wrong)


def test_no_imports_in_a_circle() -> None:
    graph = {module: {name for name in find_imports(module) if name in MODULES} - {module} for module in BELOW_ROOT}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("modules import each other in a circle: " + " <- ".join(error.args[1]))


def test_low_layers_import_nothing_heavy() -> None:
    wrong = []
    for module in BELOW_ROOT:
        if get_unit(module) in L0 | L1:
            nodes = walk_module_level(parse(MODULES[module]))
            heavy = {name.split(".")[0] for node in nodes for name in read_modules(node)} & HEAVY
            wrong += [f"{module} imports {name} when it is loaded" for name in sorted(heavy)]
    assert not wrong, "\n".join(wrong)


LIGHT = (
    *(f"eshop_ray.jobs.{name}" for name in ("prepare_data", "batch_infer", "enrich_catalog", "evaluate", "run_batch")),
    *("eshop_ray.inference.dispatch.stage", "eshop_ray.enrichment.scan", "eshop_ray.data.records"),
)
"""What starts in many processes and multiplies nothing: torch would cost each of them seconds and 200 MB."""


def test_processes_that_need_no_torch_load_none() -> None:
    wrong = [
        f"{module}: {' -> '.join(way)}" for module in LIGHT if (way := find_way(module, {"torch", "transformers"}))
    ]
    assert not wrong, "loaded at their start:\n" + "\n".join(wrong)


def find_way(start: str, ends: set[str]) -> list[str]:
    """Modules by which the start of one loads one of others, none if it does not."""
    ways, open_ends = {start: [start]}, [start]
    while open_ends:
        module = open_ends.pop()
        for name in load_of(module):
            if name.split(".")[0] in ends:
                return [*ways[module], name]
            if name in MODULES and name not in ways:
                ways[name] = [*ways[module], name]
                open_ends.append(name)
    return []


def load_of(module: str) -> set[str]:
    """Modules that the start of one loads: its imports, and the packages that it and they stand in."""
    nodes = walk_module_level(parse(MODULES[module]))
    names = {name for node in nodes if not isinstance(node, ast.Constant) for name in read_modules(node)} | {module}
    return {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)} - {module}


def test_no_file_is_named_for_nothing() -> None:
    files = [path for folder in ("eshop_ray", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")]
    vague = [path for path in files if {path.stem, path.parent.name} & VAGUE_NAMES]
    assert not vague, f"which concept lives in {', '.join(map(str, vague))}? Name the file after it"


def test_benchmarks_import_what_there_is() -> None:
    """They run for hours, once in a while: a name that has gone would be missed by nobody else."""
    for path in sorted((ROOT / "tests" / "bench").rglob("*.py")):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("eshop_ray"):
                known = list_names(str(node.module))
                gone = [alias.name for alias in node.names if alias.name not in known]
                assert not gone, f"{path.relative_to(ROOT)}: {node.module} has no {', '.join(gone)}"


def list_names(module: str) -> set[str]:
    """What may be imported from a module: what it binds, and modules inside it."""
    names = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == module}
    for node in ast.walk(parse(MODULES[module])):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_a_circle_is_found_by_whatever_kind_of_import() -> None:
    plain, lazy, string = (
        ast.parse(text)
        for text in (
            "from eshop_ray.tasks import base",
            "def run():\n    import eshop_ray.tasks.base",
            "import_module('eshop_ray.tasks.base')",
        )
    )
    for tree in (plain, lazy, string):
        found = {name for node in ast.walk(tree) for name in read_modules(node)}
        assert "eshop_ray.tasks.base" in found
