"""The lock files against each other, pyproject.toml and what the installed packages themselves require."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "eshop_ray" / "environments"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

LEFT_OUT = {"torchaudio", "torchcodec", "torchvision", "triton", "intel-cmplr-lib-ur", "gitpython"}
"""Required by packages of cpu.txt, and not there: why is said in the file; the last two are never imported."""


def read_names(lock):
    """Return the packages of a lock file."""
    lines = (line.partition("#")[0] for line in (FOLDER / lock).read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line.strip()]
    assert all(str(requirement.specifier).startswith("==") for requirement in requirements)
    return {canonicalize_name(requirement.name) for requirement in requirements}


def select_extra(*names):
    """Return the packages of pyproject's extras."""
    lines = (line for name in names for line in PROJECT["optional-dependencies"][name])
    return {canonicalize_name(Requirement(line).name) for line in lines}


def find_missing(names, present):
    """Return the requirements of installed packages that are not present, extras apart."""
    missing = set()
    for distribution in distributions():
        if canonicalize_name(distribution.metadata["Name"]) in names:
            requirements = map(Requirement, distribution.requires or [])
            applying = (one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""}))
            missing |= {canonicalize_name(one.name) for one in applying} - present
    return missing


def test_cpu_lock_is_complete_without_test_tools():
    runtime, tools = read_names("cpu.txt"), read_names("dev.txt")
    assert not runtime & tools
    assert find_missing(runtime, runtime) <= LEFT_OUT
    assert find_missing(tools, runtime | tools) == set()


@pytest.mark.parametrize(("lock", "extras"), [("cpu.txt", ("cpu", "qlora", "tracking")), ("gpu.txt", ("gpu", "qlora"))])
def test_locks_have_what_the_project_asks_for(lock, extras):
    dependencies = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    names = read_names(lock)
    assert dependencies | select_extra(*extras) <= names
    assert not names & (select_extra("dev", "docs") - {"boto3"})  # boto3: `ray up` on AWS


HASHED = sorted(FOLDER.glob("cpu-*.txt"))


@pytest.mark.parametrize("path", HASHED, ids=lambda path: path.name)
def test_locks_with_digests_are_the_lock(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    pins = {}
    for line in lines:
        pin, digest = re.fullmatch(r"(\S+) --hash=sha256:([0-9a-f]{64})", line).groups()
        name, _, version = pin.partition("==")
        pins[canonicalize_name(name)] = (version, digest)
    assert len(pins) == len(lines)
    tag = path.stem.removeprefix("cpu-").partition("-")[0]
    environment = {"python_version": f"3.{tag.removeprefix('cp3')}", "python_full_version": f"3.{tag[3:]}.0"}
    environment |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    expected = {}
    for line in (FOLDER / "cpu.txt").read_text().splitlines():
        if line.partition("#")[0].strip():
            requirement = Requirement(line.partition("#")[0])
            if requirement.marker is None or requirement.marker.evaluate(environment):
                expected[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    assert {name: version for name, (version, _) in pins.items()} == expected


def test_docs_lock_adds_to_the_others_only():
    docs = read_names("docs.txt")
    assert select_extra("docs") <= docs
    assert not docs & (read_names("cpu.txt") | read_names("dev.txt"))


def test_dev_lock_has_the_tools():
    assert select_extra("dev") <= read_names("dev.txt") | {"boto3"}
    assert {"pytest", "pytest-timeout", "pytest-xdist", "ruff", "mypy"} <= read_names("dev.txt")
