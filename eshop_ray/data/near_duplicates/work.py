"""Work in phases, each of many items that may run anywhere: what is done is a file, and is not done again."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from eshop_ray.map_tasks import map_tasks
from eshop_ray.schema import Row, decode, encode
from eshop_ray.storage import Storage

_END = ".json"


def run_phase(storage: Storage, phase: str, function: Callable[[Row], Row], items: Mapping[str, Any]) -> list[Row]:
    """Return what a function reports of each item, in the order of their names.

    Items of which there is a report already, by an earlier run that was stopped, are not run again.

    Args:
        storage: Where reports are kept, in a folder named like the phase.
        phase: Name of the phase.
        function: Runs on any node, perhaps twice if one is lost. What it writes goes under names that it gives again.
        items: Small values by name.

    Raises:
        UserError: as the function raised it.
    """
    done = read_reports(storage, phase)
    missing = [{"name": name, "item": item} for name, item in items.items() if name not in done]
    for report in map_tasks(partial(_run, storage, phase, function), missing):
        done[report["name"]] = report["report"]
    return [done[name] for name in sorted(items)]


def read_reports(storage: Storage, phase: str) -> dict[str, Row]:
    """Return the reports of a phase by the names of its items."""
    paths = [file.path for file in storage.list(phase) if file.path.endswith(_END)]
    return {path.rpartition("/")[2].removesuffix(_END): read_report(storage, path) or {} for path in paths}


def read_report(storage: Storage, path: str) -> Row | None:
    """Return one report, None where there is none."""
    content = storage.read(path)
    return None if content is None else decode(content.decode())


def write_report(storage: Storage, phase: str, name: str, report: Row) -> None:
    """Write that an item is done: after all that it had to write."""
    storage.write(f"{phase}/{name}{_END}", encode(report).encode())


def _run(storage: Storage, phase: str, function: Callable[[Row], Row], item: Row) -> Row:
    report = function(item["item"])
    write_report(storage, phase, item["name"], report)
    return {"name": item["name"], "report": report}
