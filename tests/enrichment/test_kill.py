"""Nights whose driver, engine or workers are killed at random moments: nothing is lost, doubled or asked twice."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.enrichment.drivers import Driver, Reader, kill_one
from tests.enrichment.shop import timeless
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("ray_session")

NUM_COMMITS = 11
"""About as many as an undisturbed night makes."""


def check(shop, stats, undisturbed):
    """The table is that of a night that nothing happened to, and so are the sums."""
    assert timeless(shop.rows()) == timeless(undisturbed[1])
    assert shop.quarantine() == []
    assert stats["num_quarantined"] == 0
    assert stats["num_rows"] - stats["num_deleted"] == len(shop.products) * 3


def check_reader(reader, old_rows, rows):
    """A reader saw every product's task once: of old products all the time, of new ones since they came."""
    assert reader.troubles == []
    assert reader.counts == sorted(reader.counts)
    assert len(old_rows) <= reader.counts[0] <= reader.counts[-1] <= len(rows)


def finish(shop, undisturbed, digest):
    """Run again what was killed: what was committed stays as it is, and only the rest is asked."""
    committed = {key: row for key, row in shop.rows().items() if row["model_digest"] == digest}
    faults, shop.faults = shop.faults, {}
    stats = shop.night(model=digest)
    shop.faults = faults
    check(shop, stats, undisturbed)
    after = shop.rows()
    assert {key: after[key] for key in committed} == committed
    answered = {row["key"] for row in after.values() if row["inferred_at"] and row["model_digest"] == digest}
    assert stats["num_inferred"] == len(answered - {row["key"] for row in committed.values() if row["inferred_at"]})
    return len(committed)


@pytest.mark.parametrize(
    ("seed", "commits"),
    [
        pytest.param(0, 0, marks=pytest.mark.slow),
        (1, NUM_COMMITS // 2),
        pytest.param(2, NUM_COMMITS - 3, marks=pytest.mark.slow),
    ],
)
def test_killed_driver_goes_on_from_its_last_commit(changed_shop, undisturbed, ray_address, seed, commits):
    shop, chance = changed_shop, random.Random(seed)
    old_rows, started = shop.rows(), shop.version() + 1
    driver = Driver(shop, ray_address)
    with Reader(shop.config().table_uri) as reader:
        is_reached = wait_until(
            lambda: shop.version() >= started + commits, f"{commits} commits", is_running=driver.is_running
        )
        assert is_reached, driver.wait()
        time.sleep(chance.uniform(0, 0.3))
        driver.kill()
        num_committed = finish(shop, undisturbed, shop.digest)
    assert num_committed or not commits
    check_reader(reader, old_rows, shop.rows())
    assert shop.night(model=shop.digest)["num_inferred"] == 0


@pytest.mark.slow  # a driver killed alone leaves more behind
def test_driver_killed_with_its_ray_goes_on_in_another(changed_shop, undisturbed):
    shop = changed_shop
    started = shop.version() + 1
    driver = Driver(shop)
    is_reached = wait_until(lambda: shop.version() >= started + 3, "three commits", is_running=driver.is_running)
    assert is_reached, driver.wait()
    driver.kill_session()
    finish(shop, undisturbed, shop.digest)


@pytest.mark.slow  # processes of an engine are killed by a faster test, and the driver by the one above
@pytest.mark.parametrize("seed", [0, 1])
def test_night_survives_killed_workers(changed_shop, undisturbed, seed):
    """Of every kind one or two: the engine, its supervisor, and whoever loads, writes or waits."""
    shop, chance = changed_shop, random.Random(seed)
    hurry = shop.folder / "hurry"
    shop.faults = {"rows_per_second": 30, "hurry_on": str(hurry)}  # until all are killed
    old_rows, started = shop.rows(), shop.version() + 1
    kinds = ["ray::SimulatedEngine", chance.choice(["ray::SimulatedEngine", "ray::MapWorker", "ray::"]), "ray::"]
    chance.shuffle(kinds)
    moments = sorted(chance.sample(range(len(kinds) + 2), len(kinds)))  # a night on a busy machine has few commits

    is_over = Event()

    def kill_workers():
        """Return how many were killed."""
        num_killed = 0
        for commits, kind in zip(moments, kinds, strict=True):
            reached = f"{commits} commits"
            wait_until(lambda commits=commits: shop.version() >= started + commits or is_over.is_set(), reached)
            num_killed += kill_one(kind, chance, is_running=lambda: not is_over.is_set()) is not None
        hurry.touch()
        return num_killed

    with ThreadPoolExecutor() as threads, Reader(shop.config().table_uri) as reader:
        killed = threads.submit(kill_workers)
        stats = shop.night(model=shop.digest)
        is_over.set()
        assert killed.result() >= len(kinds) - 1
    check(shop, stats, undisturbed)
    assert stats["num_inferred"] == undisturbed[0]["num_inferred"]
    check_reader(reader, old_rows, shop.rows())
