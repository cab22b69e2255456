"""A table to write to."""

import pytest

from tests.enrichment.table.readers import open_table


@pytest.fixture
def table(tmp_path):
    return open_table(str(tmp_path / "enriched"))
