"""Storage that refuses in the middle of a night: the night says what to do, and the next one goes on from there."""

import json
import threading

import boto3
import polars as pl
import pytest
import requests

from eshop_ray.errors import UserError
from tests.enrichment.drivers import Driver
from tests.enrichment.shop import timeless
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("ray_session")

GOES_ON = "what was committed stays; mend the storage and run it again: it goes on from there"


@pytest.mark.slow  # a store that refuses is met by the fast tests of commits
def test_local_folder_that_goes_away_loses_nothing(changed_shop, undisturbed):
    """As a disk does that is unmounted: writers find something else in its place."""
    shop = changed_shop
    digest, started = shop.digest, shop.version() + 1
    enriched, away = (shop.folder / "runs" / "shop" / name for name in ("enriched", "away"))

    def take_away():
        wait_until(lambda: shop.version() >= started + 4, "four commits")
        enriched.rename(away)
        enriched.write_text("in the way")

    taking = threading.Thread(target=take_away)
    taking.start()
    with pytest.raises(UserError, match=f"enriched cannot be (?:read|written): .*; {GOES_ON}"):
        shop.night(model=digest)
    taking.join()
    enriched.unlink()
    away.rename(enriched)
    committed = {key: row for key, row in shop.rows().items() if row["model_digest"] == digest}
    shop.faults = {}
    stats = shop.night(model=digest)
    after = shop.rows()
    assert {key: after[key] for key in committed} == committed
    assert 0 < stats["num_inferred"] < undisturbed[0]["num_inferred"]
    assert timeless(after) == timeless(undisturbed[1])
    assert shop.quarantine() == []


@pytest.mark.slow  # table/test_storage.py has a store refuse a table's commits, without a night around them
def test_object_store_that_refuses_midway_loses_nothing(old_shop, tmp_path, ray_address, s3):
    """The bucket's owner takes the right to write away, and gives it back."""
    shop = old_shop.copy(tmp_path)
    uri = "s3://shop/nightly/enriched"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
    variables = dict(zip(names, ("test", "hush", "us-east-1", s3), strict=True))
    workers = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": variables}})}
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3)

    def run():
        return Driver(shop, ray_address, {**variables, **workers}, table={**shop.table, "uri": uri})

    def num_versions():
        listed = client.list_objects_v2(Bucket="shop", Prefix="nightly/enriched/_delta_log/").get("Contents", [])
        return sum(entry["Key"].endswith(".json") for entry in listed)

    def rows():
        options = {**variables, "AWS_ALLOW_HTTP": "true"}
        return {(row["product_id"], row["task"]): row for row in pl.read_delta(uri, storage_options=options).to_dicts()}

    first = run()
    assert wait_until(lambda: num_versions() >= 8, "eight commits", is_running=first.is_running), first.wait()
    requests.post(f"{s3}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        status, printed = first.wait()
    finally:
        requests.post(f"{s3}/moto-api/reset-auth", data=b"Infinity", timeout=10)
    (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert message.startswith(f"error: {uri}")
    assert "403 Forbidden" in message
    assert message.endswith(GOES_ON)
    assert "hush" not in printed
    committed = rows()
    assert committed
    run().succeed()
    after = rows()
    assert {key: after[key] for key in committed} == committed
    stats = shop.statistics()
    assert len(after) == len(shop.products) * 3 == stats["num_rows"]
    answered, known = ({row["key"] for row in found.values() if row["inferred_at"]} for found in (after, committed))
    assert stats["num_inferred"] == len(answered - known)
    assert timeless(after).keys() == {(str(row["id"]), task) for row in shop.products for task in stats["tasks"]}
