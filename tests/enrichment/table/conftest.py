"""A table to write to, in a folder or in an object store."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from eshop_ray.enrichment.table import Table
from tests.enrichment.table.engines import SCHEMA


@pytest.fixture
def table(tmp_path):
    return Table.open(str(tmp_path / "enriched"), SCHEMA)


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="shop")
    yield server
    server.stop()
