import http.server
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from eshop_ray.enrichment.table import Table, Writer, maintain, storage
from eshop_ray.enrichment.table.storage import Storage
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import SCHEMA, make_rows, read_deltalake, read_own

GOES_ON = "what was committed stays; mend the storage and run it again: it goes on from there"


@pytest.fixture
def refusing_s3(monkeypatch):
    """An object store that answers every request with one status."""
    status = []

    class Refusal(http.server.BaseHTTPRequestHandler):
        def refuse(self):
            body = b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIATEST</AWSAccessKeyId></Error>"
            self.send_response(status[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = refuse  # noqa: N815 - http.server's names

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(storage, "MAX_RETRIES", 1)
    for name, value in {"ACCESS_KEY_ID": "AKIATEST", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield status
    server.shutdown()
    server.server_close()
    thread.join()


def test_only_one_of_many_creates_a_file(tmp_path):
    place = Storage(str(tmp_path))
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: place.create("entry", b"%d" % number), range(32)))
    assert created.count(True) == 1
    assert place.read("entry") == b"%d" % created.index(True)


@pytest.mark.usefixtures("s3")
def test_only_one_of_many_creates_an_object():
    place = Storage("s3://shop/table")
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: place.create("entry", b"%d" % number), range(32)))
    assert created.count(True) == 1
    assert place.read("entry") == b"%d" % created.index(True)


def test_relative_folder_is_made_and_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = Table.open("new/enriched", SCHEMA)
    monkeypatch.chdir("/")
    Writer(table, "run").commit([table.write_file(make_rows({"a": 1}))], {})
    assert read_own(str(tmp_path / "new" / "enriched")) == [("a", 1)]


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"file/enriched cannot be written: Not a directory; {GOES_ON}"):
        Table.open(str(tmp_path / "file" / "enriched"), SCHEMA)


@pytest.mark.parametrize("uri", ["ftp://shop/table", "hdfs://shop/table"])
def test_unknown_storage_is_named(uri):
    with pytest.raises(UserError, match="use a local folder, `s3://`, `gs://` or `az://`"):
        Table.open(uri, SCHEMA)


@contextmanager
def file_size_limit(num_bytes):
    """A limit on the size of files refuses writing as a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_quota_that_is_used_up_loses_nothing(table):
    writer = Writer(table, "run")
    file = table.write_file(make_rows({"a": 1, "b": 2}))
    writer.commit([file], {})
    added = table.write_file(make_rows({"a": 2}))
    with file_size_limit(100):
        with pytest.raises(UserError, match=rf"enriched cannot be written: File too large; {GOES_ON}"):
            table.write_file(make_rows({"c": 3}))
        with pytest.raises(UserError, match=rf"enriched cannot be written: File too large; {GOES_ON}"):
            writer.commit([added], {file.path: [0]})
    assert read_own(table.uri) == [("a", 1), ("b", 2)]
    writer.commit([added], {file.path: [0]})
    assert read_own(table.uri) == [("a", 2), ("b", 2)]


def test_checkpoint_that_cannot_be_written_fails_no_commit(table, caplog):
    writer = Writer(table, "run")
    with file_size_limit(4000):
        for value in range(12):
            writer.commit([table.write_file(make_rows({f"p{value}": value}))], {})
    assert "no checkpoint of version 10" in caplog.text
    assert len(read_own(table.uri)) == 12


@pytest.mark.usefixtures("s3")
def test_table_lives_in_an_object_store():
    table = Table.open("s3://shop/nightly/enriched", SCHEMA)
    writer = Writer(table, "run", rewrite_bytes=0)
    for value in range(12):
        old = {file.path: [0] for file in writer.files if file.num_deleted == 0}
        writer.commit([table.write_file(make_rows({"a": value, f"b{value}": value}))], old)
    expected = sorted([("a", 11), *((f"b{value}", value) for value in range(12))])
    assert read_own(table.uri) == read_deltalake(table.uri) == expected
    assert table.storage.read("_delta_log/_last_checkpoint") is not None
    maintain(table, Writer(table, "next"), lambda groups: map(table.merge, groups), retention_hours=0)
    assert read_own(table.uri) == read_deltalake(table.uri) == expected
    assert len(table.snapshot().files) == 1


def test_object_store_that_starts_to_refuse_loses_nothing(s3):
    table = Table.open("s3://shop/enriched", SCHEMA)
    writer = Writer(table, "run")
    writer.commit([file := table.write_file(make_rows({"a": 1}))], {})
    added = table.write_file(make_rows({"a": 2}))
    requests.post(f"{s3}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        for act in (lambda: writer.commit([added], {file.path: [0]}), lambda: table.write_file(make_rows({"b": 1}))):
            with pytest.raises(UserError, match=rf"s3://shop/enriched cannot be \w+: 403 Forbidden.*; {GOES_ON}"):
                act()
    finally:
        requests.post(f"{s3}/moto-api/reset-auth", data=b"Infinity", timeout=10)
    assert read_own(table.uri) == [("a", 1)]
    writer.commit([added], {file.path: [0]})
    assert read_own(table.uri) == [("a", 2)]


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden, AccessDenied"), (500, "500 Internal Server")])
def test_refusal_is_told_without_secrets(refusing_s3, status, words):
    refusing_s3.append(status)
    with pytest.raises(UserError, match=rf"s3://shop/enriched cannot be read: {words}.*; {GOES_ON}") as caught:
        Table.open("s3://shop/enriched", SCHEMA)
    assert "AKIATEST" not in str(caught.value)


@pytest.mark.usefixtures("s3")
def test_missing_bucket_and_unreachable_store_are_told(monkeypatch):
    monkeypatch.setattr(storage, "MAX_RETRIES", 1)
    with pytest.raises(UserError, match=r"s3://absent/enriched cannot be .*404 Not Found, NoSuchBucket"):
        Table.open("s3://absent/enriched", SCHEMA)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="s3://shop/enriched cannot be read: error sending request"):
        Table.open("s3://shop/enriched", SCHEMA)
