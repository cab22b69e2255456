"""Uploads and downloads through the gateway: in blocks, within limits, and without a trace of what broke off."""

import asyncio
import json
import tracemalloc
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.serving import gateway as gateway_module
from eshop_ray.serving.batches.uploads import BLOCK_BYTES, Form
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import make_key, write_line
from tests.serving.batches.made_batches import Keeper, request, write
from tests.serving.made_model import MadeModel, build_gateway

BOUNDARY = "----edge"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name, content, filename=None):
    file = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FILE = part("file", b"abc", "in.jsonl")
PURPOSE = part("purpose", b"batch")


def check(folder, ask, keys=None, key=None, **settings):
    """Return what a client gets, and who keeps the files."""

    async def run():
        made = []

        def make_batches(config, ring, metered):
            made.append(Keeper(folder, config, ring, metered))
            return made[0].endpoints

        gateway, _, metered = build_gateway(MadeModel(), folder, keys, make_batches=make_batches, **settings)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(gateway, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as http:
            found = await ask(http)
        await metered.finish()
        return found, made[0]

    return asyncio.run(run())


def post(content, headers=FORM):
    return lambda http: http.post("/v1/files", content=content, headers=headers)


@pytest.mark.parametrize("parts", [(FILE, PURPOSE), (PURPOSE, FILE), (PURPOSE, FILE, part("other", b"x"))])
def test_a_file_is_kept_before_the_model_is_up(tmp_path, parts):
    response, keeper = check(tmp_path, post(form(*parts)))
    assert response.status_code == 200, response.text
    file = response.json()
    assert (file["object"], file["bytes"], file["filename"], file["purpose"]) == ("file", 3, "in.jsonl", "batch")
    assert keeper.store.find_content(file["id"]).read_bytes() == b"abc"


BAD_FORMS = [
    (b"", 400),
    (b"no form", 400),
    (form(), 400),
    (form(PURPOSE), 400),
    (form(FILE), 400),
    (FILE + PURPOSE, 400),
    (form(FILE, FILE, PURPOSE), 400),
    (form(part("other", b"abc", "x"), PURPOSE), 400),
    (form(FILE, part("purpose", b"fine-tune")), 400),
    (form(FILE, part("purpose", b"x" * 5000)), 400),
    (form(FILE, PURPOSE, PURPOSE), 400),
    (form(*(part(str(number), b"") for number in range(20)), FILE, PURPOSE), 400),
    (form(FILE, PURPOSE, part("expires_after[seconds]", b"soon")), 400),
    (form(FILE, PURPOSE, part("expires_after[seconds]", b"5")), 400),
    (form(part("purpose", b"\xff"), FILE), 400),
    (form(part("file", b"x" * 2001, "in.jsonl"), PURPOSE), 413),
]


@pytest.mark.parametrize(("content", "status"), BAD_FORMS, ids=range(len(BAD_FORMS)))
def test_what_is_no_upload_leaves_nothing(tmp_path, content, status):
    response, keeper = check(tmp_path, post(content), batches={"max_file_bytes": 2000})
    assert response.status_code == status, response.text
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    assert not keeper.store.files
    assert not list((tmp_path / "serve-batches" / "files").iterdir())


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 99, ""]
)
def test_bodies_of_another_type(tmp_path, kind):
    response, _ = check(tmp_path, post(form(FILE, PURPOSE), {"Content-Type": kind}))
    assert response.status_code == 415


def test_a_declared_length_beyond_the_limit_is_not_read(tmp_path):
    async def never():
        raise AssertionError("read")
        yield b""

    headers = {**FORM, "Content-Length": str(50 * 1024 * 1024)}
    response, _ = check(tmp_path, post(never(), headers), batches={"max_file_bytes": 2000})
    assert response.status_code == 413


def test_a_long_file_goes_by_in_blocks_both_ways(tmp_path):
    size = 20 * BLOCK_BYTES + 17
    block = bytes(range(256)) * 256

    async def chunks():
        yield PURPOSE + part("file", b"", "in.jsonl").removesuffix(b"\r\n")
        for start in range(0, size, len(block)):
            yield block[: size - start]
        yield b"\r\n" + form()

    async def ask(http):
        tracemalloc.start()
        file = (await post(chunks())(http)).json()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        async with http.stream("GET", f"/v1/files/{file['id']}/content") as response:
            content = await response.aread()
        return file, peak, response, content

    (file, peak, response, content), _ = check(tmp_path, ask)
    assert file["bytes"] == size
    assert peak < 8 * BLOCK_BYTES
    assert content == (block * (size // len(block) + 1))[:size]
    assert response.headers["content-length"] == str(size)
    assert response.headers["content-disposition"] == "attachment"
    assert response.headers["x-content-type-options"] == "nosniff"


def build_kept(folder, **settings):
    """Return a gateway, and the keeper of its batches."""
    made = []

    def make_batches(config, ring, metered):
        made.append(Keeper(folder, config, ring, metered))
        return made[0].endpoints

    gateway, _, _ = build_gateway(MadeModel(), folder, make_batches=make_batches, **settings)
    return gateway, made[0]


def test_a_client_that_leaves_in_the_middle_leaves_nothing(tmp_path):
    async def run():
        gateway, _ = build_kept(tmp_path)
        messages = [{"type": "http.request", "body": FILE[:-5], "more_body": True}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0)

        async def send(message):
            raise AssertionError(message)

        headers = [(b"host", b"localhost"), (b"content-type", FORM["Content-Type"].encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/files", "headers": headers, "client": ("127.0.0.1", 1)}
        await gateway(scope, receive, send)

    asyncio.run(run())
    assert not list((tmp_path / "serve-batches" / "files").iterdir())


def test_a_download_that_breaks_off_has_no_word_of_ours_in_it(tmp_path):
    """The interface of the server is used by hand here: what is not ended, the server cuts off."""

    async def run():
        gateway, keeper = build_kept(tmp_path)
        file_id = await keeper.upload(b"x" * (BLOCK_BYTES + 5))
        read = keeper.files.read

        async def break_off(owner, name, offset, num_bytes):
            if offset:
                raise RefusalError(503, "batches cannot be looked at now")
            return await read(owner, name, offset, num_bytes)

        keeper.endpoints._files = type("Files", (), {"find": keeper.files.find, "read": staticmethod(break_off)})
        sent = []

        async def receive():
            await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": f"/v1/files/{file_id}/content", "client": ("127.0.0.1", 1)}
        await gateway({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
        return sent

    start, *blocks = asyncio.run(run())
    assert dict(start["headers"])[b"content-length"] == str(BLOCK_BYTES + 5).encode()
    assert [(len(block["body"]), block["more_body"]) for block in blocks] == [(BLOCK_BYTES, True)]


@pytest.mark.parametrize("ends", ["has it all", "leaves early", "time is up"])
def test_slow_downloads_take_up_room_until_their_clients_have_all(tmp_path, monkeypatch, ends):
    """By hand again: Ray Serve takes all at once, and says that a client is gone once it has the end."""
    monkeypatch.setattr(gateway_module, "MAX_DOWNLOADED_BYTES", 100)

    async def run():
        gateway, keeper = build_kept(tmp_path, request_seconds=0.3 if ends == "time is up" else 30.0)
        ids = [await keeper.upload(b"x" * size) for size in (200, 60, 60, 40)]

        async def download(number, gone):
            sent = []

            async def receive():
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                if ends == "leaves early" and sent and sent[0]["status"] == 200:
                    await asyncio.sleep(60)
                sent.append(message)

            path = f"/v1/files/{ids[number]}/content"
            scope = {"type": "http", "method": "GET", "path": path, "client": ("127.0.0.1", 1)}
            await gateway({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
            return sent[0]["status"], dict(sent[0]["headers"])

        async def begin(number, gone):
            running = asyncio.create_task(download(number, gone))
            await asyncio.wait({running}, timeout=0.03)
            return running

        gone = asyncio.Event()
        alone = await begin(0, gone)  # longer than all may be, but nothing else is on its way
        (status, headers), is_running = await download(1, gone), not alone.done()
        if ends != "time is up":
            gone.set()
        await alone
        gone.clear()
        both = [await begin(number, gone) for number in (1, 3)]
        beyond, _ = await download(2, gone)
        if ends != "time is up":
            gone.set()
        return alone.result()[0], is_running, status, headers, beyond, [(await one)[0] for one in both]

    first, is_running, status, headers, beyond, both = asyncio.run(run())
    assert (first, is_running, both) == (200, True, [200, 200])
    assert (status, beyond) == (503, 503)
    assert int(headers[b"retry-after"]) >= 1


KEY, LINE = make_key("a", requests_per_minute=2)


def test_addresses_of_files_and_batches_want_a_key_and_count_as_requests(tmp_path):
    async def ask(http):
        return [(await http.get("/v1/batches")).status_code for _ in range(3)]

    assert check(tmp_path, ask, keys=[write_line(LINE)], key=KEY)[0] == [200, 200, 429]
    (tmp_path / "other").mkdir()
    assert check(tmp_path / "other", ask, keys=[write_line(LINE)], key="esk-wrong")[0] == [401] * 3


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files/file-none", 404),
        ("GET", "/v1/files/..%2f..%2fkeys/content", 404),
        ("DELETE", "/v1/files/file-none", 404),
        ("GET", "/v1/batches/batch_none", 404),
        ("POST", "/v1/batches/batch_none/cancel", 404),
        ("PUT", "/v1/files", 405),
        ("GET", "/v1/files?limit=0", 400),
        ("GET", "/v1/files?order=up", 400),
        ("GET", "/v1/batches?limit=101", 400),
        ("GET", "/v1/batches?after=batch_none", 400),
    ],
)
def test_what_is_not_there(tmp_path, method, path, status):
    response, _ = check(tmp_path, lambda http: http.request(method, path))
    assert response.status_code == status
    assert response.headers.get("allow", "GET, HEAD, POST") == "GET, HEAD, POST"
    assert response.json()["error"]["message"]


def test_lists_come_in_pages(tmp_path):
    async def ask(http):
        for number in range(3):
            await post(form(part("file", write([request("a")]), f"{number}.jsonl"), PURPOSE))(http)
        first = (await http.get("/v1/files?limit=2&order=asc&purpose=batch")).json()
        second = (await http.get(f"/v1/files?limit=2&order=asc&after={first['last_id']}")).json()
        none = (await http.get("/v1/files?purpose=batch_output")).json()
        return [first, second, none]

    (first, second, none), _ = check(tmp_path, ask)
    assert [file["filename"] for file in first["data"] + second["data"]] == ["0.jsonl", "1.jsonl", "2.jsonl"]
    assert [page["has_more"] for page in (first, second, none)] == [True, False, False]
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@settings(max_examples=60)
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 600), max_size=6))
def test_a_file_comes_out_as_it_went_in_wherever_it_is_cut(content, cuts):
    if BOUNDARY.encode() in content:
        return
    body = form(part("file", content, "x"), PURPOSE)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    reader, found = Form(BOUNDARY.encode()), b""
    for start, end in pairwise(places):
        reader.feed(body[start:end])
        found += reader.take(0)
    assert (found, reader.fields, reader.is_complete) == (content, {"purpose": "batch"}, True)


@settings(max_examples=60)
@given(body=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: FILE + tail))
def test_no_form_makes_trouble(tmp_path_factory, body):
    response, _ = check(tmp_path_factory.mktemp("fuzz"), post(body))
    assert response.status_code in (200, 400), (response.status_code, body)


BODIES = st.dictionaries(
    st.sampled_from(["input_file_id", "endpoint", "completion_window", "metadata"]),
    st.none() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2),
)


@settings(max_examples=40)
@given(body=BODIES)
def test_no_batch_makes_trouble(tmp_path_factory, body):
    json_type = {"Content-Type": "application/json"}
    response, _ = check(
        tmp_path_factory.mktemp("fuzz"),
        lambda http: http.post("/v1/batches", content=json.dumps(body), headers=json_type),
    )
    assert response.status_code in (400, 404), (response.status_code, body)
