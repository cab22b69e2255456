"""The table of architectures under the newest Transformers and PEFT: told, not required; the lock has others."""

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.bench.models import find_wrong
from tests.training.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
PACKAGES = ("transformers", "peft")
TIMEOUT_S = 600
ASK = f"""
import importlib.metadata, json
print(json.dumps({{name: importlib.metadata.version(name) for name in {PACKAGES}}}))
"""


@pytest.fixture
def newest(tmp_path):
    """A Python that has the newest of both, and all else as this one has it."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    (own,) = folder.glob("lib/python*/site-packages")
    # What is installed there comes first; what is not is taken from here.
    (own / "locked.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade", *PACKAGES]
    done = run(install)
    if done.returncode:
        pytest.skip(f"no package index gives the newest: {done.stderr.strip()[-300:]}")
    return python


def run(command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)


@pytest.mark.slow  # the network, and all architectures once more
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_architectures_under_the_newest_releases(newest, tmp_path, capsys):
    versions = json.loads(run([newest, "-c", ASK]).stdout)
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    is_locked = versions == {name: importlib.metadata.version(name) for name in PACKAGES}
    results = tmp_path / "models.json"
    done = run([newest, "-m", "tests.bench.models", "--results", str(results)])
    rows = json.loads(results.read_text()) if results.exists() else {}
    wrong = find_wrong(ARCHITECTURES, rows) if rows else [f"nothing was measured: {done.stderr[-1000:]}"]
    with capsys.disabled():
        print(f"\nnewest: {told}{', as in the lock' if is_locked else ''}; {len(rows)} measured, {len(wrong)} differ")
    if wrong:
        pytest.xfail(f"{told}: {'; '.join(wrong)}")
