"""A clock that goes back: last night's entries and files are of the day after tomorrow."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.enrichment.shop import product, timeless

pytestmark = pytest.mark.usefixtures("ray_session")
DAYS = 2 * 86_400


def move_ahead(folder):
    """Date all that a table's folder says of times two days later."""
    for path in sorted((folder / "_delta_log").glob("*.json")):
        later = re.sub(
            r'("\w*[tT]ime(?:stamp)?":)(\d{13})',
            lambda match: f"{match[1]}{int(match[2]) + 1000 * DAYS}",
            path.read_text(),
        )
        path.write_text(later)
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + DAYS, time.time() + DAYS))


@pytest.mark.slow  # three nights; the order of runs by version has fast tests
def test_a_clock_that_goes_back_loses_nothing(enriched_shop):
    shop = enriched_shop
    before = shop.rows()
    for name in ("enriched", "enriched_quarantine"):
        move_ahead(Path(shop.config().table_uri).with_name(name))
    shop.products[3] = product(3, name="yellow hat 3")
    stats = shop.night(table={**shop.table, "retention_hours": 0})
    assert (stats["num_changed"], stats["num_deleted"]) == (2, 0)
    after = shop.rows()
    same = {key for key in before if key[0] != "p3"}
    assert timeless({key: after[key] for key in same}) == timeless({key: before[key] for key in same})
    again = shop.night(table={**shop.table, "retention_hours": 0})
    assert (again["num_inferred"], again["num_unchanged"]) == (0, len(after))
