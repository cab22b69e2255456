"""Two nights at once over one table: the later one has it, the earlier one is told, and the rows are right."""

import time

import pytest

from tests.enrichment.drivers import Driver, Reader
from tests.enrichment.shop import timeless
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("ray_session")


def check_told(first, shop, second_run_id):
    """The earlier run ended with one clear message."""
    status, printed = first.wait()
    assert status == 2, printed
    (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert f"another run ({second_run_id}) took over the table {shop.config().table_uri} at" in message
    assert "what this run committed stays: start it again when that one has ended" in message
    assert "Traceback" not in printed


def check_right(shop, undisturbed, reader):
    assert timeless(shop.rows()) == timeless(undisturbed[1])
    assert shop.quarantine() == []
    assert reader.troubles == []


@pytest.mark.slow
def test_later_of_two_drivers_takes_the_table(changed_shop, undisturbed, ray_address):
    shop = changed_shop
    started, speed = shop.version() + 1, shop.faults
    shop.faults = {"rows_per_second": 10}  # it is at work for as long as another driver takes to start
    first = Driver(shop, ray_address)
    shop.faults = speed
    with Reader(shop.config().table_uri) as reader:
        is_reached = wait_until(lambda: shop.version() >= started, "a commit", is_running=first.is_running)
        assert is_reached, first.wait()
        Driver(shop, ray_address).succeed()
    check_told(first, shop, shop.statistics()["run_id"])
    check_right(shop, undisturbed, reader)


@pytest.mark.slow  # two nights at once; whose commits count is decided in the tests of the writer
def test_later_run_keeps_what_the_earlier_committed(changed_shop, undisturbed, ray_address):
    shop, digest = changed_shop, changed_shop.digest
    started = shop.version() + 1
    first = Driver(shop, ray_address)
    with Reader(shop.config().table_uri) as reader:
        is_reached = wait_until(lambda: shop.version() >= started + 2, "two commits", is_running=first.is_running)
        assert is_reached, first.wait()
        shop.faults = {}
        stats = shop.night(model=digest)
    check_told(first, shop, stats["run_id"])
    check_right(shop, undisturbed, reader)
    committed = {row["run_id"] for row in shop.rows().values() if row["model_digest"] == digest and row["inferred_at"]}
    assert len(committed) == 2
    assert 0 < stats["num_inferred"] < undisturbed[0]["num_inferred"]


@pytest.mark.slow
def test_of_many_drivers_at_once_one_completes(changed_shop, undisturbed, ray_address):
    shop = changed_shop
    drivers = []
    for _ in range(3):
        drivers.append(Driver(shop, ray_address))
        time.sleep(0.2)
    with Reader(shop.config().table_uri) as reader:
        ended = [driver.wait() for driver in drivers]
    assert sorted(status for status, _ in ended) == [0, 2, 2], [printed for _, printed in ended]
    assert all("took over the table" in printed for status, printed in ended if status)
    check_right(shop, undisturbed, reader)
