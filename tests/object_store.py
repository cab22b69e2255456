"""A pytest plugin: an object store on this machine that speaks S3."""

import subprocess
import sys

import boto3
import pytest
import requests

from tests.processes import free_port
from tests.waiting import wait_until


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
