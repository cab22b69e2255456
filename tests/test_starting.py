"""What shares an engine, a Ray or a training runs in one process."""

import os

import pytest

from tests.starting import name_group


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process only")
def test_tests_are_dealt_out_by_their_groups(request):
    # A pytest that keeps its ids elsewhere than xdist writes its groups deals every test by itself.
    assert all(item.nodeid.endswith(f"@{name_group(item)}") for item in request.session.items)
