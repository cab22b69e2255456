"""Libraries keep quiet about what no user can act on, and about nothing else."""

import logging
import os
import re
import subprocess
import sys
import warnings

import pytest

from eshop_ray.cli.hush import QUIET_LOGGERS, RAY_LINES, hush_libraries


@pytest.fixture
def hushed(monkeypatch):
    monkeypatch.delenv("RAY_DEDUP_LOGS_SKIP_REGEX", raising=False)
    levels = {name: logging.getLogger(name).level for name in QUIET_LOGGERS}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        hush_libraries()
        yield heard
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    os.environ.pop("RAY_DEDUP_LOGS_SKIP_REGEX", None)


@pytest.mark.parametrize(("name", "level"), QUIET_LOGGERS.items())
def test_what_matters_is_still_heard(hushed, name, level):  # noqa: ARG001
    logger = logging.getLogger(f"{name}.anything")
    assert logger.isEnabledFor(level)
    assert not logger.isEnabledFor(level - 10)


def test_loggers_are_called_as_their_libraries_call_them():
    from ray._private.authentication import authentication_token_setup
    from ray.data._internal import progress

    for module in (authentication_token_setup, progress):
        assert any(module.logger.name.startswith(name) for name in set(QUIET_LOGGERS) - {"ray"})


def test_only_the_named_warning_is_left_out(hushed):
    warnings.warn("`is_gradient_checkpointing` is deprecated and will be removed in v6.", FutureWarning, stacklevel=1)
    assert not hushed
    warnings.warn("`something_else` is deprecated", FutureWarning, stacklevel=1)
    warnings.warn("`is_gradient_checkpointing` is deprecated", DeprecationWarning, stacklevel=1)
    assert len(hushed) == 2


def test_ray_leaves_out_the_line_about_workers_and_no_other(hushed):  # noqa: ARG001
    skipped = re.compile(os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"])
    assert skipped.search("WARNING: 12 PYTHON worker processes have been started on node: 5f with address: 10.0.0.1.")
    assert not skipped.search("The node with node id: 5f has been marked dead because the detector has missed too many")
    assert len(RAY_LINES) == 1


def test_an_own_choice_of_ray_lines_wins(monkeypatch, hushed):  # noqa: ARG001
    monkeypatch.setenv("RAY_DEDUP_LOGS_SKIP_REGEX", "mine")
    hush_libraries()
    assert os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] == "mine"


def test_the_command_line_comes_before_ray():
    """Ray reads what it leaves out when it is imported: by then it must have been said."""
    code = "import eshop_ray.cli.execution, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
