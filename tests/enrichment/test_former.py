"""A table of the first design, two nights old, with deletion vectors, tombstones and trouble: `former_tables.tar.gz`.

It was written over 24 products of `tests.enrichment.shop`, one line of the catalogue being broken, one answer cut off.
"""

import hashlib
import tarfile
from pathlib import Path

import polars as pl
import pytest

from tests.enrichment.shop import Shop

ARCHIVE = Path(__file__).with_name("former_tables.tar.gz")


class FormerShop(Shop):
    """A shop whose tables are where they were copied to."""

    def rows(self):
        table = pl.read_delta(f"{self.config().table_uri}_v2")
        return {(row["product_id"], row["task"]): row for row in table.to_dicts()}

    def write(self):
        """Leave the files as they are."""


@pytest.fixture
def shop(tmp_path, ray_session):  # noqa: ARG001
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    shop = FormerShop(tmp_path)
    shop.faults = {"truncate_on": "scarf 5"}
    return shop


def digest(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def test_rows_are_copied_and_nothing_is_asked(shop):
    folder = shop.folder / "runs" / "shop" / "enriched"
    before, old = digest(folder), pl.read_delta(str(folder))
    night = shop.night()
    assert (night["num_inferred"], night["num_new"], night["num_deleted"]) == (0, 0, 0)
    assert (night["num_unchanged"], night["num_quarantined"]) == (67, 3)
    rows = shop.rows()
    assert {key: row["prediction"] for key, row in rows.items()} == {
        (row["product_id"], row["task"]): row["prediction"] for row in old.to_dicts()
    }
    assert {len(row["key"]) for row in rows.values() if row["status"] in ("enriched", "empty")} == {32}
    assert digest(folder) == before
    again = shop.night()
    assert (again["num_inferred"], again["num_commits"], again["num_unchanged"]) == (0, 0, 67)


def test_a_copy_that_was_cut_off_is_made_again(shop):
    shop.night()
    rows = shop.rows()
    (shop.folder / "runs" / "shop" / "enriched_v2" / "_eshop_ray" / "copied").unlink()
    assert shop.night()["num_inferred"] == 0
    assert shop.rows().keys() == rows.keys()
