"""Damage, repair, and the night after: the table is what it was, and only what was lost was asked."""

import pyarrow.parquet as pq
import pytest

from eshop_ray.enrichment.tables import enriched_table
from eshop_ray.errors import UserError
from eshop_ray.jobs.verify import run as run_verify
from tests.enrichment.shop import timeless

pytestmark = pytest.mark.usefixtures("ray_session")


def find_file(folder, task):
    """One that stands in the newest version."""
    files = enriched_table(str(folder)).snapshot().files
    return folder / next(file.name for file in files if file.task == task)


def flip_data(folder):
    path = find_file(folder, "classification")
    data, column = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)


def remove_data(folder):
    find_file(folder, "summarization").unlink()


def cut_last_commit(folder):
    entries = sorted(folder.glob("_delta_log/*.json"))
    path = [path for path in entries if '"ENRICH"' in path.read_text()][-1]
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.slow  # test_repair.py has all kinds of damage without nights
@pytest.mark.parametrize("damage", [flip_data, remove_data, cut_last_commit])
def test_night_after_repair_asks_what_was_lost_and_nothing_else(enriched_shop, damage):
    shop = enriched_shop
    before = shop.rows()
    damage(shop.folder / "runs" / "shop" / "enriched")
    with pytest.raises(UserError, match=r"`eshop verify CONFIG --repair` takes what is damaged") as caught:
        shop.night()
    assert caught.value.exit_status == 2
    run_verify(shop.config(), repairs=True)
    left = shop.rows()
    assert left == {key: before[key] for key in left}
    lost = [row for key, row in before.items() if key not in left]
    assert lost
    stats = shop.night()
    assert stats["num_inferred"] == sum(row["status"] == "enriched" for row in lost)
    assert timeless(shop.rows()) == timeless(before)
    assert {key: shop.rows()[key] for key in left} == left
    run_verify(shop.config())
