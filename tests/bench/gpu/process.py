"""One part, one process: `process.py MODULE JOB RESULT` writes what `measure(JOB)` yields, figure by figure.

A part that comes to its end has passed. One that raises `Absent`, or misses a package that is not installed, is absent;
with any other error it has failed.
"""

import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
REASON_CHARACTERS = 600


def main(module, job, result):
    prepare()
    figures, state, reason = {}, "passed", None
    save(result, None, figures, None)
    try:
        for figure, value in importlib.import_module(module).measure(json.loads(job)):
            figures[figure] = value
            save(result, None, figures, None)
    except Exception as error:
        traceback.print_exc()
        state, reason = describe(error)
    save(result, state, figures, reason)


def prepare():
    """Have this checkout's packages found before any that is installed, and nothing asked of a model hub."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0"}
    sys.path[0] = str(ROOT)
    # Some wheels bring a `tests` of their own, which would win over ours: that has no `__init__.py`.
    tests = sys.modules["tests"] = ModuleType("tests")
    tests.__path__ = [str(ROOT / "tests")]


def describe(error):
    """Return the state that an error stands for, and the reason in words."""
    from tests.bench.gpu.outcome import Absent

    words = " ".join(str(error).split())[:REASON_CHARACTERS]
    if isinstance(error, Absent):
        return "absent", words
    package = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else None
    if package and package not in sys.modules and importlib.util.find_spec(package) is None:
        return "absent", f"the Python package `{package}` is not installed"
    return "failed", f"{type(error).__name__}: {words}"


def save(path, state, figures, reason):
    """Write the result as it stands; a process that is ended meanwhile leaves the one before."""
    whole = Path(path).with_suffix(".part")
    whole.write_text(json.dumps({"state": state, "figures": figures, "reason": reason}))
    whole.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
