"""What `import eshop_ray` promises: a name that leaves this list breaks somebody's code."""

import subprocess
import sys

import pytest

import eshop_ray

PROMISED = [
    "PREDICTION_SCHEMA",
    "RECORD_SCHEMA",
    "Config",
    "Task",
    "UserError",
    "__version__",
    "get_task",
    "list_tasks",
    "load_config",
    "write_config",
]


def test_names_are_as_promised():
    assert eshop_ray.__all__ == PROMISED
    assert dir(eshop_ray) == sorted(PROMISED)
    for name in PROMISED:
        assert getattr(eshop_ray, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_confg'"):
        eshop_ray.load_confg  # noqa: B018 - read for its error


def test_what_the_names_are():
    config = eshop_ray.Config(name="run")
    assert config.run_dir.name == "run"
    assert isinstance(eshop_ray.get_task(eshop_ray.list_tasks()[0]), eshop_ray.Task)
    with pytest.raises(eshop_ray.UserError):
        eshop_ray.load_config("none.yaml")
    assert "prediction" in eshop_ray.PREDICTION_SCHEMA.names
    assert "target" in eshop_ray.RECORD_SCHEMA.names


def test_import_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import eshop_ray; print(sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pydantic", "yaml", "pyarrow", "ray", "torch"} & set(eval(loaded))
