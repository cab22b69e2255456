"""README.md tells the truth about what can be checked: config keys, jobs, tasks, the tree."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from eshop_ray.config import Config
from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.tasks import list_tasks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def config_lines(section: type[BaseModel] = Config, prefix: str = ""):
    """Yield the table line of every key."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from config_lines(field.annotation, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        meaning = " ".join((field.description or "").split())
        yield f"| `{prefix}{name}` | {default} | {meaning} |"


@pytest.mark.parametrize("line", list(config_lines()))
def test_config_reference_is_current(line):
    assert line in README, f"put this line into README.md: {line}"


@pytest.mark.parametrize("job", sorted(path.stem for path in (ROOT / "jobs").glob("[a-z]*.py")))
def test_every_job_is_named(job):
    assert f"`{job}`" in README


@pytest.mark.parametrize("name", [*list_tasks(), *PREDICTION_SCHEMA.names])
def test_every_task_and_column_is_named(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in (ROOT / "eshop_ray").iterdir() if (path / "__init__.py").is_file())
)
def test_every_package_is_in_the_tree(folder):
    assert f"  {folder}/" in README
