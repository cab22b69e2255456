"""Conditional writes as Google's stores know them: by the number of a file's version, not by its tag."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from obstore.store import GCSStore

from eshop_ray.storage import Storage, lease


class GoogleHandler(BaseHTTPRequestHandler):
    """As much of Google's XML API as claims need."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.answer(200, *self.server.files[self.path]) if self.path in self.server.files else self.answer(404)

    def do_DELETE(self):
        self.server.files.pop(self.path, None)
        self.answer(204)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        version = self.server.files.get(self.path, (b"", 0))[1]
        if int(self.headers.get("x-goog-if-generation-match", version)) != version:
            self.answer(412)
            return
        self.server.num_versions += 1
        self.server.files[self.path] = (content, self.server.num_versions)
        self.answer(200, b"", self.server.num_versions)

    def answer(self, status, content=b"", version=0):
        self.send_response(status)
        named = {"Content-Length": len(content), "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        named |= {"ETag": f'"{version}"', "x-goog-generation": version} if version else {}
        for name, value in named.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def place(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), GoogleHandler)
    server.files, server.num_versions = {}, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = {"gcs_base_url": f"http://127.0.0.1:{server.server_port}", "disable_oauth": True}
    key |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key))
    storage = Storage("gs://shop/runs")
    storage.__dict__["_store"] = GCSStore.from_url(storage.uri, client_options={"allow_http": True})
    yield storage
    server.shutdown()
    server.server_close()


def test_a_file_is_replaced_by_who_knows_it(place):
    assert place.create("file", b"mine")
    assert not place.create("file", b"yours")
    found = place.stat("file")
    assert place.replace("file", b"still mine", found)
    assert not place.replace("file", b"yours", found)
    assert place.read("file") == b"still mine"


def test_a_claim_is_renewed(place, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease.os, "kill", lambda *_: ended.set())
    with lease.hold(place, "lock", "first"):
        first = place.stat("lock").version
        assert not ended.wait(0.5)
        assert place.stat("lock").version != first
    assert place.read("lock") is None
