"""The wheel: built, installed in a folder of its own, and used from there, outside the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from eshop_ray import __version__

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-python-version-warning"]
SOURCES = ("eshop_ray", "jobs", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy: setuptools leaves its traces in the source tree."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    command = [*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", built, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the folder in which the wheel is installed, alone."""
    folder = tmp_path_factory.mktemp("installed")
    command = [*PIP, "install", "--no-index", "--no-deps", "--no-compile", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture
def eshop(installed, tmp_path):
    """Return a function that runs the installed command in an empty folder, with the lock's other packages."""

    def call(*words):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [installed / "bin" / "eshop", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


def test_wheel_has_all_that_jobs_need_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"eshop_ray-{__version__}.dist-info/METADATA").decode()
    files = (path for path in (ROOT / "eshop_ray").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {str(path.relative_to(ROOT)) for path in files} == {name for name in names if name.startswith("eshop_ray/")}
    assert {"eshop_ray/py.typed", "eshop_ray/configs/demo.yaml", "eshop_ray/environments/cpu.txt"} <= names
    assert {name.split("/")[0] for name in names} == {"eshop_ray", f"eshop_ray-{__version__}.dist-info"}
    assert f"\nVersion: {__version__}\n" in metadata
    for extra in ("cpu", "gpu", "qlora", "tracking", "dev", "docs"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


def test_command_works_outside_the_checkout(eshop, installed):
    assert eshop("--version").stdout == f"eshop_ray {__version__}\n"
    helped = eshop("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "enrich-catalog" in helped.stdout
    refused = eshop("demo", "data.num_product=5")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: config {installed / 'eshop_ray' / 'configs' / 'demo.yaml'}: unknown key")


@pytest.mark.usefixtures("starts_ray")
def test_whole_job_by_the_installed_command(eshop, tmp_path):
    """A batch of requests, answered in Ray's workers, which import the installed package as well."""
    body = {"model": "shop", "messages": [{"role": "user", "content": "wool scarf"}]}
    requests = [{"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(request) + "\n" for request in requests))
    options = ["--served-model-name=shop", "--max-tokens=4", "infer.engine=simulated"]
    result = eshop("run-batch", "in.jsonl", "out.jsonl", *options)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(answer["custom_id"] for answer in answers) == ["r0", "r1", "r2"]
    assert all(answer["response"]["status_code"] == 200 for answer in answers)
    assert (tmp_path / "runs" / "run_batch" / "config.yaml").is_file()
