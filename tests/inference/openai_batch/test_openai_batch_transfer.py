"""Inputs from the web and from pipes, outputs that go there."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch import transfer
from eshop_ray.inference.openai_batch.transfer import borrow_input, deliver, keep_stdout, must_deliver

KEY = "X-Signature=c0ffee"


class Store(BaseHTTPRequestHandler):
    """A web server that keeps what is put there; it fails as often as it is told to."""

    def do_GET(self):
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.server.num_broken -= 1
        self.wfile.write((content or b"")[: 10 if self.server.num_broken >= 0 else None])

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.num_failures -= 1
        if self.server.num_failures < 0:
            self.server.files[self.path] = content
        self.send_response(201 if self.server.num_failures < 0 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.files, server.num_failures, server.num_broken = {}, 0, 0
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / "output.jsonl", tmp_path / "output.jsonl.errors.jsonl"]
    paths[0].write_bytes(b"a\nb\n")
    paths[1].write_bytes(b"c\n")
    return paths


def test_what_is_delivered(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for place in ("https://a/b.jsonl", str(tmp_path / "pipe"), "/dev/stdout", "/dev/fd/63", "/dev/null"):
        assert must_deliver(place), place
    for place in (str(tmp_path / "file"), str(tmp_path / "none"), "s3://a/b", "out.jsonl", "/dev/shm/out.jsonl"):
        assert not must_deliver(place), place
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        must_deliver(str(tmp_path))


def borrow(source, folder):
    """What stands in the copy, and its name; afterwards the copy is gone."""
    with borrow_input(source, folder, "name") as path:
        found = Path(path).read_bytes(), Path(path).name
    assert not folder.exists()
    return found


def test_input_from_the_web(store, tmp_path):
    store.files[f"/day/in.jsonl?{KEY}"] = b'{"a": 1}\n' * 1000
    content, name = borrow(f"{store.address}/day/in.jsonl?{KEY}", tmp_path / "copy")
    assert (content, name) == (store.files[f"/day/in.jsonl?{KEY}"], "in.jsonl")


def test_input_that_breaks_off_is_fetched_again(store, tmp_path):
    store.files["/in.jsonl"] = b"{}\n" * 100
    store.num_broken = 2
    assert borrow(f"{store.address}/in.jsonl", tmp_path / "copy")[0] == b"{}\n" * 100
    store.num_broken = 99
    with pytest.raises(UserError, match=r"in\.jsonl: cannot be read: "):
        borrow(f"{store.address}/in.jsonl", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_input_that_is_not_there(store, tmp_path, caplog):
    with pytest.raises(UserError, match=r"in\.jsonl: cannot be read: HTTP 404") as missing:
        borrow(f"{store.address}/in.jsonl?{KEY}", tmp_path / "copy")
    assert not caplog.text, "a server that says so is asked once"
    with pytest.raises(UserError, match="cannot be read: ") as unreachable:
        borrow(f"http://127.0.0.1:1/in.jsonl?{KEY}", tmp_path / "copy")
    assert KEY not in str(missing.value) + str(unreachable.value) + caplog.text


def test_input_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"{}\n" * 10,))
    writer.start()
    assert borrow(str(tmp_path / "pipe"), tmp_path / "copy")[0] == b"{}\n" * 10
    writer.join()


def test_input_that_can_be_read_in_parts_stays_where_it_is(tmp_path):
    (tmp_path / "in.jsonl").touch()
    for source in (str(tmp_path / "in.jsonl"), "s3://shop/in.jsonl", str(tmp_path / "none")):
        with borrow_input(source, tmp_path / "copy", "name") as path:
            assert path == source
    assert not (tmp_path / "copy").exists()


def test_trouble_with_the_answers_is_not_the_inputs(store, tmp_path):
    store.files["/in.jsonl"] = b"{}\n"
    with pytest.raises(OSError, match="disk"), borrow_input(f"{store.address}/in.jsonl", tmp_path / "copy", "x"):
        raise OSError("disk")


def test_output_is_put_in_one_piece_and_tried_again(store, parts):
    store.num_failures = 2
    deliver(parts, f"{store.address}/out.jsonl?{KEY}", None)
    assert store.files == {f"/out.jsonl?{KEY}": b"a\nb\nc\n"}


def test_output_that_nobody_takes_is_not_lost(store, parts, caplog):
    store.num_failures = 99
    with pytest.raises(
        UserError, match=f"out.jsonl: cannot be written: HTTP 503 .* all results are in {parts[0]}"
    ) as lost:
        deliver(parts, f"{store.address}/out.jsonl?{KEY}", None)
    assert KEY not in str(lost.value) + caplog.text
    assert caplog.text.count("tried again") == transfer.NUM_TRIES - 1


def test_standard_output_has_the_results_and_nothing_else(parts, capfd):
    with keep_stdout("/dev/stdout") as stdout:
        os.write(1, b"a worker says something\n")
        deliver(parts, "/dev/stdout", stdout)
    os.write(1, b"after\n")
    said = capfd.readouterr()
    assert said.out == "a\nb\nc\nafter\n"
    assert said.err == "a worker says something\n"


def test_other_outputs_leave_the_standard_output_alone(parts, capfd, tmp_path):
    with keep_stdout(str(tmp_path / "out.jsonl")) as stdout:
        os.write(1, b"said\n")
        deliver(parts, "/dev/null", stdout)
    assert capfd.readouterr().out == "said\n"
