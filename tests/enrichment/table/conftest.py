"""A table to write to."""

import pytest

from eshop_ray.enrichment.table import Table
from tests.enrichment.table.readers import SCHEMA


@pytest.fixture
def table(tmp_path):
    return Table.open(str(tmp_path / "enriched"), SCHEMA)
