"""The generated reference says all that the code says."""

from pathlib import Path

import pytest
from config_keys import describe_type, list_keys
from reference import (
    GENERATED,
    write_columns,
    write_config,
    write_default,
    write_jobs,
    write_metrics,
    write_sources,
    write_tasks,
    write_tree,
)
from schema_columns import MEANINGS

from eshop_ray.config import Config
from eshop_ray.data.sources import READERS
from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.serving.metrics import METRICS
from eshop_ray.tasks import get_task, list_tasks

ROOT = Path(__file__).parents[2]


def read_rows(table):
    """Return the cells of a Markdown table's rows, by the first of them."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in lines}


def dump_keys(values, prefix=""):
    """Yield the dotted keys of a config as it is dumped, sections and values alike."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from dump_keys(value, f"{prefix}{name}.")


def test_the_config_reference_has_every_key_with_its_default():
    rows = read_rows(write_config())
    dumped = Config(name="shop").model_dump()
    missing = [key for key in dump_keys(dumped) if key not in rows]
    missing = [key for key in missing if not any(key.startswith(f"{known}.") for known in rows)]
    assert [key for key in missing if not any(known.startswith(f"{key}.") for known in rows)] == []
    assert rows["train.learning_rate"][1] == "`0.0005`"
    assert rows["name"][1] == "required"
    assert rows["model.merged_dir"][1] == "`null`"


def test_every_metric_is_there_with_its_labels():
    rows = read_rows(write_metrics())
    assert len(rows) == len(METRICS)
    assert rows["ray_eshop_requests_total"][1:3] == ["counter", "`route`, `task`, `key`, `status`"]


def test_every_key_has_a_meaning():
    assert [key.name for key in list_keys(Config) if not key.meaning] == []


def test_keys_of_listed_sections_are_keys_too():
    assert {"data.sources", "data.sources.format", "data.sources.path"} <= {key.name for key in list_keys(Config)}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("train.method", "`lora` or `qlora` or `full`"),
        ("train.num_epochs", "whole number"),
        ("train.num_workers", "whole number, or [whole number, whole number]"),
        ("infer.cpu_threads", "whole number, or null"),
        ("merge.weights", "list of number"),
        ("infer.engine_kwargs", "mapping of text to anything"),
    ],
)
def test_types_are_told_in_words(key, kind):
    (found,) = [one for one in list_keys(Config) if one.name == key]
    assert found.kind == kind


def test_a_type_without_a_word_keeps_its_name():
    assert describe_type(bytes) == "bytes"


def test_defaults_are_written_as_in_yaml():
    defaults = {key.name: write_default(key) for key in list_keys(Config)}
    assert defaults["train.use_gpu"] == "`false`"
    assert defaults["infer.models"] == '`["base", "merged"]`'


def test_every_job_has_its_row():
    job_names = [path.stem for path in (ROOT / "jobs").glob("[a-z]*.py")]
    rows = read_rows(write_jobs())
    assert set(rows) == {f"eshop {name.replace('_', '-')}" for name in job_names}
    assert [name for name, cells in rows.items() if not all(cell.strip() for cell in cells[1:])] == []


def test_every_task_has_its_row_with_fields_metric_and_constraint():
    rows = read_rows(write_tasks())
    assert list(rows) == list_tasks()
    for name, cells in rows.items():
        task = get_task(name)
        fields = {field for example in task.examples for field in example} - {"target", "metric"}
        assert all(f"`{field}`" in cells[2] for field in fields), f"{name}: {cells[2]}"
        assert task.metric in cells
        assert cells[-1].strip()


def test_every_package_and_module_is_in_the_tree_and_says_what_it_is_for():
    rows = read_rows(write_tree())
    package = ROOT / "eshop_ray"
    wanted = {f"eshop_ray/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    wanted |= {f"eshop_ray/{path.name}" for path in package.glob("*.py")} - {"eshop_ray/__init__.py"}
    assert wanted <= set(rows)
    silent = [name for name, cells in rows.items() if len(cells) < 2 or not cells[1]]
    assert not silent, f"give these a docstring whose first line says what they are for: {', '.join(silent)}"


def test_a_bar_in_a_code_span_does_not_end_a_cell():
    assert "red=color | wool=material" in write_tasks()


def test_every_source_has_its_row():
    assert list(read_rows(write_sources())) == list(READERS)


@pytest.mark.parametrize("name", [name for name in GENERATED if name.endswith("columns")])
def test_every_column_has_a_meaning(name):
    assert GENERATED[name]().count("\n") > 5


def test_a_column_without_a_meaning_is_told():
    columns = {name: meaning for name, meaning in MEANINGS["prediction"].items() if name != "error"}
    with pytest.raises(ValueError, match="differ in error; give each column a meaning"):
        write_columns(columns, PREDICTION_SCHEMA)
