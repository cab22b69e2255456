"""The packages of a tree with what each is for, from the first lines of their docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path


def list_packages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, what it is for) of a package, of its own modules, and of all packages below it, in this order.

    Args:
        root: Folder of the package; paths are relative to the folder that it is in.
    """
    yield f"{root.name}/", read_summary(root / "__init__.py")
    for path in sorted(root.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{root.name}/{path.name}", read_summary(path)
    for path in sorted(root.glob("*/**/__init__.py")):
        yield f"{path.parent.relative_to(root.parent).as_posix()}/", read_summary(path)


def read_summary(path: Path) -> str:
    """Return the first line of a module's docstring; empty where it has none."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0]
