"""Shops for whole nights on real Ray, and an object store."""

import subprocess
import sys

import boto3
import pytest
import requests

from tests.enrichment.shop import Shop, product, review
from tests.processes import free_port
from tests.waiting import wait_until


@pytest.fixture
def shop(tmp_path, ray_session):  # noqa: ARG001 - nights join the session's Ray
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def enriched(tmp_path_factory, ray_session):  # noqa: ARG001
    """A shop after its first night, and that night's statistics."""
    shop = Shop(tmp_path_factory.mktemp("enriched"))
    return shop, shop.night()


@pytest.fixture
def enriched_shop(tmp_path, enriched):
    """A copy of that shop."""
    return enriched[0].copy(tmp_path)


@pytest.fixture(scope="session")
def old_shop(tmp_path_factory, ray_session):  # noqa: ARG001
    """A shop after a night, whose catalogue and model have changed since: tonight nearly every row gives way."""
    shop = Shop(tmp_path_factory.mktemp("old"), num_products=150)
    shop.night(model="old")
    for number in range(10):
        shop.products[number] = product(number, name=f"green hat {number}")
    del shop.products[10:20]
    shop.products += [product(number) for number in range(150, 160)]
    shop.reviews.append(review(30, "even better", 99))
    shop.faults = {"rows_per_second": 150}
    return shop


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, old_shop):
    """That shop after a night that nothing disturbed: its statistics and its rows."""
    shop = old_shop.copy(tmp_path_factory.mktemp("undisturbed"))
    digest, shop.faults = shop.digest, {}
    return shop.night(model=digest), shop.rows()


@pytest.fixture
def changed_shop(tmp_path, old_shop):
    """A copy of that shop, tonight still ahead of it."""
    return old_shop.copy(tmp_path)


@pytest.fixture
def ray_address(ray_session):
    """Where another driver joins the session's Ray."""
    return ray_session.get_runtime_context().gcs_address


@pytest.fixture(scope="session")
def s3_url():
    """A process of its own: engines that hold the interpreter while they wait would wait for a thread for ever."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: is_up(url), "the object store")
    yield url
    process.kill()
    process.wait()


def is_up(url):
    try:
        return requests.get(url, timeout=10)
    except requests.ConnectionError:
        return None


@pytest.fixture
def s3(s3_url, monkeypatch):
    """The address of an object store with an empty bucket, `shop`, that the environment names."""
    requests.post(f"{s3_url}/moto-api/reset", timeout=10)
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    boto3.client("s3", region_name="us-east-1", endpoint_url=s3_url).create_bucket(Bucket="shop")
    return s3_url
