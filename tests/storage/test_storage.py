"""Files in local folders and object stores, and the variables by which stores are reached."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from pyarrow import fs

from eshop_ray.errors import UserError
from eshop_ray.storage import Storage, StorageError, access, arrow_filesystem, storage

NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")


@pytest.fixture(params=["local", "object store"])
def place(request, tmp_path):
    if request.param == "local":
        return Storage(str(tmp_path / "place"))
    request.getfixturevalue("s3")
    return Storage("s3://shop/place")


def test_files_come_back_as_they_were_written(place):
    assert (place.read("a"), place.stat("a"), list(place.list()), place.list_folder()) == (None, None, [], ([], []))
    place.make_folder()
    for name in ("a", "deep/b", "deep/er/c"):
        place.write(name, name.encode())
    assert place.read("deep/er/c") == b"deep/er/c"
    assert place.read_range("deep/b", 2, 3).to_pybytes() == b"ep/"
    assert place.stat("deep/b").size == 6
    with place.open("deep/er/c") as stream:
        assert (stream.seek(5), stream.read(2), stream.read()) == (5, b"er", b"/c")
    assert sorted(file.path for file in place.list()) == ["a", "deep/b", "deep/er/c"]
    assert sorted(file.path for file in place.list("deep")) == ["deep/b", "deep/er/c"]
    folders, files = place.list_folder("deep")
    assert (folders, [file.path for file in files]) == (["deep/er"], ["deep/b"])
    assert place.below("deep").read("b") == b"deep/b"
    place.delete("a")
    place.delete_all("deep")
    assert list(place.list()) == []


def test_a_file_is_created_once_and_replaced_by_who_knows_it(place):
    place.make_folder()
    assert place.create("lock", b"mine")
    assert not place.create("lock", b"yours")
    found = place.stat("lock")
    assert place.replace("lock", b"still mine", found)
    if place.folder is None:
        assert not place.replace("lock", b"yours", found)
        assert not place.replace("absent", b"yours", found)
    assert place.read("lock") == b"still mine"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_one_set_of_variables_serves_all_roads(s3, monkeypatch, name):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, s3)
    Storage("s3://shop/place").write("file", b"content")
    files, path = arrow_filesystem("s3://shop/place/file")
    assert files.open_input_file(path).read() == b"content"
    assert access.delta_options("s3://shop/x").items() >= {("AWS_ENDPOINT_URL", s3), ("AWS_ALLOW_HTTP", "true")}


def test_a_query_tells_where_the_store_is(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    query = f"endpoint_override={s3.removeprefix('http://')}&scheme=http&region=us-east-1"
    place = Storage(f"s3://shop/place?{query}")
    place.below("deep").write("file", b"content")
    assert place.read("deep/file") == b"content"
    assert place.shown == "s3://shop/place"
    files, path = arrow_filesystem(f"s3://shop/place/deep/file?{query}")
    assert files.open_input_file(path).read() == b"content"


def test_a_profile_is_enough(s3, tmp_path, monkeypatch):
    keys = [f"{name.lower()} = x\n" for name in NAMES[:2]]
    (tmp_path / "credentials").write_text(f"[shop]\n{''.join(keys)}")
    for name in NAMES[:2]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "shop")
    Storage("s3://shop").write("file", b"content")
    client = boto3.session.Session().client("s3", endpoint_url=s3)
    assert client.get_object(Bucket="shop", Key="file")["Body"].read() == b"content"


def test_a_profile_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    (tmp_path / "config").write_text("[default]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(UserError, match=r"absent.*correct AWS_PROFILE"):
        Storage("s3://shop").read("file")


def test_a_file_that_tells_a_region_only_needs_no_boto3(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n[profile shop]\nregion = eu-west-3\n")
    monkeypatch.setitem(sys.modules, "boto3", None)
    store = access.open_store("s3://shop")
    assert (store.config["region"], store.credential_provider) == ("eu-west-1", None)
    assert arrow_filesystem("s3://shop")[0].region == "eu-west-1"
    monkeypatch.setenv("AWS_PROFILE", "shop")
    assert arrow_filesystem("s3://shop")[0].region == "eu-west-3"
    assert access.delta_options("s3://shop")["AWS_REGION"] == "eu-west-3"
    with pytest.raises(UserError, match="boto3, which is not installed"):
        access.open_store("s3://shop")


def test_places_on_this_machine_need_no_store(tmp_path):
    files, path = arrow_filesystem(str(tmp_path))
    assert (type(files), path) == (fs.LocalFileSystem, str(tmp_path))
    assert access.delta_options(str(tmp_path)) == {}


def test_unknown_storage_is_named():
    with pytest.raises(UserError, match="use a local folder, `s3://`, `gs://` or `az://`"):
        Storage("ftp://shop/table")


class SlowHandler(BaseHTTPRequestHandler):
    """Gives parts of a file."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(200, self.server.content)

    def do_GET(self):
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        self.server.requests.append(self.headers["If-Match"])
        self.answer(206, self.server.content[first : last + 1], f"bytes {first}-{last}/{len(self.server.content)}")

    def answer(self, status, content, part=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), "ETag": '"one"', "Content-Range": part}.items():
            if value:
                self.send_header(name, str(value))
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def test_a_large_file_comes_by_several_requests_of_one_version(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "_DOWNLOADED_AT_ONCE", 1000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler)
    server.content, server.requests = bytes(range(250)) * 10, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in zip(NAMES, ("x", "x", "us-east-1", f"http://127.0.0.1:{server.server_port}"), strict=True):
        monkeypatch.setenv(name, value)
    Storage("s3://shop").download("large", tmp_path / "large")
    server.shutdown()
    server.server_close()
    assert (tmp_path / "large").read_bytes() == server.content
    assert server.requests == ['"one"'] * 3


@pytest.mark.usefixtures("s3")
def test_a_full_disk_is_not_laid_to_the_store():
    Storage("s3://shop").write("file", b"content")
    with pytest.raises(StorageError, match=r"/dev/full cannot be written: No space left on device.*ESHOP_RAY_CACHE"):
        Storage("s3://shop").download("file", Path("/dev/full"))
    with pytest.raises(StorageError, match="s3://shop cannot be read"):
        Storage("s3://shop").download("absent", Path("/dev/null"))


def test_marks_of_folders_are_no_files(s3):
    bucket = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    for name in ("place/", "place/file", "place/empty", "place/deep/", "place/deep/file", "place/none/"):
        bucket.put_object(Bucket="shop", Key=name, Body=b"content" if name.endswith("file") else b"")
    place = Storage("s3://shop/place")
    assert sorted(file.path for file in place.list()) == ["deep/file", "empty", "file"]
    assert [file.path for file in place.list("deep")] == ["deep/file"]
    folders, files = place.list_folder()
    assert (folders, sorted(file.path for file in files)) == (["deep", "none"], ["empty", "file"])
    assert [file.path for file in place.list_folder("deep")[1]] == ["deep/file"]
