"""Code -> the tables of the reference, as Markdown. A page asks for one by `<!-- generated: NAME -->`."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from inspect import getdoc, getmodule
from pathlib import Path

import pyarrow as pa
from config_keys import Key, list_keys, list_sections
from package_tree import list_packages
from schema_columns import MEANINGS, Columns

from eshop_ray import schema
from eshop_ray.cli.job_table import GROUPS, JOBS
from eshop_ray.config import Config
from eshop_ray.data.platforms import PLATFORMS
from eshop_ray.data.sources import READERS
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.inference.answer_identity import ENGINE_NOT_DECIDING, NOT_DECIDING
from eshop_ray.inference.engines.openai.endpoint import NOT_DECIDING as ENDPOINT_NOT_DECIDING
from eshop_ray.serving.metrics import METRICS
from eshop_ray.tasks import Task, get_task, list_tasks

ROOT = Path(__file__).parents[2]


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_to_cell(cell) for cell in line) + " |" for line in lines)


def write_config() -> str:
    """Return all keys of a config file: those at its top, then a chapter for each section."""
    keys = list(list_keys(Config))
    sections = list_sections(Config)
    chapters = [write_keys([key for key in keys if "." not in key.name])]
    for name, section in sections.items():
        own = [key for key in keys if key.name.startswith(f"{name}.")]
        chapters.append(f"## {name}\n\n{getdoc(section)}\n\n{write_keys(own)}")
    return "\n\n".join(chapters)


def write_keys(keys: Iterable[Key]) -> str:
    """Return the table of some keys."""
    return write_table(
        ("key", "default", "takes", "meaning"),
        ((f"`{key.name}`", write_default(key), key.kind, key.meaning) for key in keys),
    )


def write_default(key: Key) -> str:
    """Write a default as one writes it into a YAML file."""
    if key.is_required:
        return "required"
    return f"`{json.dumps(key.default, ensure_ascii=False)}`" if key.default != "" else '`""`'


def write_jobs() -> str:
    """Return a chapter for each group of jobs, in the order of `eshop --help`."""
    header = ("command", "what for", "reads", "writes")
    chapters = []
    for group in GROUPS:
        rows = [(f"`eshop {job.command}`", job.purpose, job.reads, job.writes) for job in JOBS if job.group == group]
        chapters.append(f"## {group}\n\n{write_table(header, rows)}")
    return "\n\n".join(chapters)


def write_tasks() -> str:
    """Return the table of tasks, from their worked examples and the docstring of what holds decoding."""
    return write_table(
        ("task", "what for", "fields of a record", "an answer", "metric", "decoding", "reads of a product"),
        (_describe_task(get_task(name)) for name in list_tasks()),
    )


def write_neutral_settings() -> str:
    """Return the settings of `infer`, `openai` and of vLLM without which an answer would be the same."""
    own = [f"`infer.{name}`" for name in sorted(NOT_DECIDING)]
    engine = [f"`{name}`" for name in sorted(ENGINE_NOT_DECIDING)]
    endpoint = [f"`openai.{name}`" for name in sorted(ENDPOINT_NOT_DECIDING)]
    lines = [
        ", ".join(own),
        ", ".join(endpoint),
        f"in `infer.engine_kwargs` and `serve.engine_kwargs`: {', '.join(engine)}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def write_sources() -> str:
    """Return the table of source formats, from their readers' docstrings."""
    return write_table(
        ("format", "files", "what a reader yields"),
        (
            (f"`{name}`", _first_line(getdoc(getmodule(read))), _first_line(getdoc(read)).removeprefix("Yield "))
            for name, read in READERS.items()
        ),
    )


def write_platforms() -> str:
    """Return the table of shop systems, from their modules' docstrings."""
    return write_table(
        ("format", "system", "what is read"),
        (
            (f"`{name}`", platform.title, _first_line(getdoc(getmodule(platform.read))))
            for name, platform in PLATFORMS.items()
        ),
    )


def write_tree() -> str:
    """Return the table of packages, with the modules at the top."""
    return write_table(("where", "what"), ((f"`{path}`", what) for path, what in list_packages(ROOT / "eshop_ray")))


def write_columns(columns: Columns, table: pa.Schema) -> str:
    """Return the columns of a schema with their types and what they mean.

    Raises:
        ValueError: if a column has no meaning in `schema_columns.py`, or a meaning no column.
    """
    if different := set(table.names) ^ set(columns):
        names = ", ".join(sorted(different))
        raise ValueError(f"docs/hooks/schema_columns.py and the schema differ in {names}; give each column a meaning")
    return write_table(
        ("column", "type", "meaning"),
        ((f"`{field.name}`", f"`{_write_type(field.type)}`", columns[field.name]) for field in table),
    )


def write_metrics() -> str:
    """Return what the endpoint measures."""
    return write_table(
        ("metric", "kind", "labels", "meaning"),
        (
            (
                f"`{metric.exported_name}`",
                metric.kind,
                ", ".join(f"`{label}`" for label in metric.labels),
                metric.description,
            )
            for metric in METRICS
        ),
    )


GENERATED: Mapping[str, Callable[[], str]] = {
    "config": write_config,
    "jobs": write_jobs,
    "tasks": write_tasks,
    "sources": write_sources,
    "platforms": write_platforms,
    "settings without effect on answers": write_neutral_settings,
    "metrics": write_metrics,
    "tree": write_tree,
    "prediction columns": lambda: write_columns(MEANINGS["prediction"], schema.PREDICTION_SCHEMA),
    "table columns": lambda: write_columns(MEANINGS["table"], ENRICHED_SCHEMA),
    "quarantine columns": lambda: write_columns(MEANINGS["quarantine"], QUARANTINE_SCHEMA),
}
"""What a page may ask for."""


def _describe_task(task: Task) -> tuple[str, ...]:
    fields = dict.fromkeys(
        ", ".join(f"`{name}`" for name in example if name not in ("target", "metric")) for example in task.examples
    )
    answer = task.format_target(task.examples[0]["target"])
    module = import_module(f"eshop_ray.tasks.{task.name}")
    return (
        f"`{task.name}`",
        _first_line(module.__doc__).partition(": ")[2],
        "; or ".join(fields),
        f"`{answer}`",
        task.metric,
        _first_line(task.output.__doc__),
        ", ".join(f"`{name}`" for name in (*task.product.fields, *task.product.optional)) if task.product else "",
    )


def _write_type(kind: pa.DataType) -> str:
    return str(kind).replace("item: ", "").replace(" not null", "")


def _first_line(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0].rstrip(".")


def _to_cell(text: str) -> str:
    """Write text on one line. A `|` would end the cell, unless it stands in a code span."""
    spans = " ".join(text.split()).split("`")
    return "`".join(span if number % 2 else span.replace("|", "\\|") for number, span in enumerate(spans))
