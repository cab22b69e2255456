"""Local folders and object stores, and what is said of them when they refuse."""

import http.server
import resource
import threading
from contextlib import contextmanager

import pytest
import requests

from eshop_ray.enrichment.table import Writer
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage, access
from tests.enrichment.table.readers import open_table, read_deltalake, read_own, replace_all, write_file

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
    monkeypatch.setattr(access, "MAX_RETRIES", 1)
    for name, value in {"ACCESS_KEY_ID": "AKIATEST", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield status
    server.shutdown()
    server.server_close()
    thread.join()


def test_relative_folder_is_made_and_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = open_table("new/enriched")
    monkeypatch.chdir("/")
    Writer(table, "run").commit([write_file(table, a=1)], [])
    assert read_own(str(tmp_path / "new" / "enriched")) == [("a", 1)]


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"file/enriched cannot be written: Not a directory; {GOES_ON}"):
        open_table(str(tmp_path / "file" / "enriched"))


@pytest.mark.parametrize("uri", ["ftp://shop/table", "hdfs://shop/table"])
def test_unknown_storage_is_named(uri):
    with pytest.raises(UserError, match="use a local folder, `s3://`, `gs://` or `az://`"):
        open_table(uri)


def test_a_part_of_a_file_is_read(tmp_path):
    place = Storage(str(tmp_path))
    place.write("deep/file", b"0123456789")
    assert place.read_range("deep/file", 3, 4).to_pybytes() == b"3456"
    with pytest.raises(UserError, match="cannot be read"):
        place.read_range("absent", 0, 1)


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
    file = write_file(table, a=1, b=2)
    writer.commit([file], [])
    added = write_file(table, a=2, b=2)
    with file_size_limit(100):
        with pytest.raises(UserError, match=rf"enriched cannot be written: File too large; {GOES_ON}"):
            write_file(table, c=3)
        with pytest.raises(UserError, match=r"enriched cannot be written"):
            writer.commit([added], [file])
    assert read_own(table.uri) == [("a", 1), ("b", 2)]
    writer.commit([added], [file])
    assert read_own(table.uri) == [("a", 2), ("b", 2)]


def test_checkpoint_that_cannot_be_written_fails_no_commit(table):
    writer = Writer(table, "run")
    with file_size_limit(4000):
        for value in range(12):
            writer.commit([write_file(table, **{f"p{value}": value})], [])
    assert len(read_own(table.uri)) == 12


@pytest.mark.usefixtures("s3")
def test_table_lives_in_an_object_store():
    table = open_table("s3://shop/nightly/enriched")
    writer = Writer(table, "run")
    for value in range(12):
        replace_all(table, writer, a=value, b=1)
    write_file(table, lost=1)
    assert read_own(table.uri) == read_deltalake(table.uri) == [("a", 11), ("b", 1)]
    assert table.storage.read("_delta_log/_last_checkpoint") is not None
    writer = Writer(table, "next")
    writer.tidy(retention_hours=0)
    assert read_own(table.uri) == read_deltalake(table.uri) == [("a", 11), ("b", 1)]
    assert len([file for file in table.storage.list() if file.path.endswith(".parquet")]) == 2  # with a checkpoint


@pytest.mark.usefixtures("s3")
def test_of_two_runs_on_an_object_store_one_goes_on():
    table = open_table("s3://shop/enriched")
    first = Writer(table, "first")
    second = Writer(table, "second")
    with pytest.raises(UserError, match=r"another run \(second\) took over"):
        first.commit([write_file(table, a=1)], [])
    second.commit([write_file(table, b=1)], [])
    assert read_own(table.uri) == [("b", 1)]


def test_object_store_that_starts_to_refuse_loses_nothing(s3):
    table = open_table("s3://shop/enriched")
    writer = Writer(table, "run")
    writer.commit([file := write_file(table, a=1)], [])
    added = write_file(table, a=2)
    requests.post(f"{s3}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        for act in (lambda: writer.commit([added], [file]), lambda: write_file(table, b=1)):
            with pytest.raises(UserError, match=rf"s3://shop/enriched cannot be \w+: .*; {GOES_ON}"):
                act()
    finally:
        requests.post(f"{s3}/moto-api/reset-auth", data=b"Infinity", timeout=10)
    assert read_own(table.uri) == [("a", 1)]
    writer.commit([added], [file])
    assert read_own(table.uri) == [("a", 2)]


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (500, "500 Internal Server")])
def test_refusal_is_told_without_secrets(refusing_s3, status, words):
    refusing_s3.append(status)
    with pytest.raises(UserError, match=rf"s3://shop/enriched cannot be read: .*{words}.*; {GOES_ON}") as caught:
        open_table("s3://shop/enriched")
    assert "AKIATEST" not in str(caught.value)


@pytest.mark.usefixtures("s3")
def test_missing_bucket_and_unreachable_store_are_told(monkeypatch):
    monkeypatch.setattr(access, "MAX_RETRIES", 1)
    with pytest.raises(UserError, match=r"s3://absent/enriched cannot be .*(404 Not Found|NoSuchBucket)"):
        open_table("s3://absent/enriched")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"s3://shop/enriched cannot be read: .*; what was committed"):
        open_table("s3://shop/enriched")
