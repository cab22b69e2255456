"""The folder in which a night exchanges its rows: its own while the night lives."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eshop_ray.enrichment.plan import ACTIONS, PREVIOUS_ROWS
from eshop_ray.enrichment.staging import Staging, clear_abandoned, open_staging
from eshop_ray.places import local_path
from eshop_ray.storage import Storage, lease
from eshop_ray.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
NUM_BUCKETS = 4
CLASSIFICATION = {"classification": get_task("classification")}

NIGHT = """
import sys, time
from pathlib import Path
from eshop_ray.enrichment.staging import open_staging
with open_staging(Path(sys.argv[1]), "other", 2, ("name",)) as staging:
    print(staging.storage.folder, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def open_folder(run_dir, run_id):
    with open_staging(run_dir, run_id, 2, ("name",)) as opened:
        yield opened.storage.folder


def test_the_next_night_clears_up_after_one_that_was_killed(tmp_path):
    night = subprocess.Popen([sys.executable, "-c", NIGHT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    folder = Path(night.stdout.readline().strip())
    with open_folder(tmp_path, "mine") as mine:
        assert folder.exists(), "the other night is at work in it"
        night.kill()
        night.communicate()
        with open_folder(tmp_path, "next") as next_one:
            assert not folder.exists()
            assert mine.exists()
            assert next_one.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("s3")
def test_a_workspace_in_an_object_store_is_left_to_its_night(monkeypatch):
    run_dir, storage = local_path("s3://shop/runs/night"), Storage("s3://shop/runs/night")
    with open_staging(run_dir, "mine", 2, ("name",)) as mine:
        mine.exchange("keys").write("part", PREVIOUS_ROWS.empty_table(), np.array([], np.int64))
        assert clear_abandoned(run_dir) == 0
        assert len(list(mine.storage.list())) == 1
        monkeypatch.setattr(lease, "LAPSE_SECONDS", -1.0)
        assert clear_abandoned(run_dir) == 1
        assert list(storage.list()) == []


@pytest.mark.parametrize("place", ["local", "s3://shop/runs/night"])
def test_night_that_ends_takes_its_folder_along(place, tmp_path, request):
    if place == "local":
        place = str(tmp_path)
    else:
        request.getfixturevalue("s3")
    with open_staging(local_path(place), "mine", 2, ("name",)) as opened:
        opened.exchange("keys").write("part", PREVIOUS_ROWS.empty_table(), np.array([], np.int64))
    assert Storage(place).list_folder("enrichment") == ([], [])


@pytest.fixture
def work(tmp_path):
    return Staging(Storage(str(tmp_path)), NUM_BUCKETS, ("brand", "category"))


def test_exchanges_have_the_columns_of_their_rows_and_as_many_buckets_as_are_asked_for(work):
    products = work.exchange("products")
    assert {"product_id", "field_brand", "field_category", "reason"} <= set(products.schema.names)
    assert (products.num_buckets, products.parts, products.kind) == (NUM_BUCKETS, (), "products")
    assert (work.exchange("resolved", 9).num_buckets, work.exchange("resolved").schema) == (9, ACTIONS)


@pytest.mark.usefixtures("s3")
def test_a_store_that_is_gone_in_the_end_hides_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ESHOP_RAY_CACHE", str(tmp_path))
    opened = open_staging(local_path("s3://shop/runs/night"), "mine", 2, ("name",))
    with pytest.raises(ZeroDivisionError), opened:  # noqa: PT012

        def refuse(storage, *_):
            raise storage.trouble("read", OSError("gone"))

        monkeypatch.setattr(Storage, "list", refuse)
        monkeypatch.setattr(Storage, "read", refuse)
        raise ZeroDivisionError
