"""What a rerun finds: the input in chunks, what stands in the output already, and what is left to do."""

import json
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.batch_files import BatchFiles, name_errors
from eshop_ray.inference.openai_batch.requests import Rules
from eshop_ray.inference.openai_batch.results import RESULT_SCHEMA
from eshop_ray.inference.openai_batch.run import check_failures, check_models, find_states, plan_work, read_rows
from eshop_ray.inference.openai_batch.source import read_chunk, scan_source

RULES = Rules(("shop",))
IDENTITY = {"input": "1", "model": "2"}


def request(custom_id):
    body = {"messages": [{"role": "user", "content": "scarf"}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


def answered(custom_id):
    return json.dumps({"custom_id": custom_id, "error": None}) + "\n"


def failed(line, custom_id=None):
    error = {"code": "engine", "message": "engine: out of luck"}
    response = {"status_code": 500, "body": {"error": error}}
    return json.dumps({"custom_id": custom_id, "response": response, "error": None, "line": line}) + "\n"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join([request("a"), "", "{", request("b"), request("a"), request("c")]))
    return tmp_path


def open_files(place):
    return BatchFiles(place / "out.jsonl", place / "out.errors.jsonl")


def find_left(place, lines_per_chunk=2):
    """(line, custom_id, error code) of what is left to do, chunk by chunk."""
    source = scan_source(str(place / "in.jsonl"), lines_per_chunk)
    with open_files(place) as files:
        states = find_states(source, files.read())
    rows = [list(read_rows(source.path, work, RULES)) for work in plan_work(source.chunks, states)]
    return [[(row["line"], row["id"], (row["error"] or "").partition(":")[0]) for row in part] for part in rows]


def test_first_run_has_every_line_to_do(place):
    assert find_left(place) == [
        [(1, "a", "")],
        [(3, None, "invalid_json_line"), (4, "b", "")],
        [(5, "a", "duplicate_custom_id"), (6, "c", "")],
    ]


def test_rerun_has_what_is_missing(place):
    (place / "out.jsonl").write_text(answered("c") + answered("a"))
    (place / "out.errors.jsonl").write_text(failed(3))
    assert find_left(place) == [[(4, "b", "")], [(5, "a", "duplicate_custom_id")]]
    (place / "out.errors.jsonl").write_text(failed(3) + failed(5, "a") + failed(4, "b"))
    assert find_left(place) == []


def test_duplicate_that_failed_says_nothing_of_the_first(place):
    (place / "out.errors.jsonl").write_text(failed(5, "a"))
    assert find_left(place)[0] == [(1, "a", "")]


def test_line_that_was_cut_off_is_dropped(place):
    (place / "out.jsonl").write_text(answered("a") + answered("b")[:-1])
    assert [row for part in find_left(place) for row in part if row[1] == "b"] == [(4, "b", "")]
    assert (place / "out.jsonl").read_text() == answered("a")


@pytest.mark.parametrize("junk", ["5\n", "\0\n", '{"custom_id": 5, "error": null}\n', '{"error": null}\n'])
def test_line_of_somebody_else_is_named(place, junk):
    (place / "out.jsonl").write_text(answered("a") + junk)
    with pytest.raises(UserError, match=r"out\.jsonl:2: is no line that this job writes"):
        find_left(place)


def test_chunks_are_the_file(place):
    content = (place / "in.jsonl").read_bytes()
    for ending in (b"", b"\n", b"\n\n", b"\r\n"):
        (place / "in.jsonl").write_bytes(content + ending)
        for lines_per_chunk in (1, 2, 100):
            source = scan_source(str(place / "in.jsonl"), lines_per_chunk)
            lines = [line for chunk in source.chunks for line in read_chunk(source.path, chunk)]
            expected = (content + ending).removesuffix(b"\n").split(b"\n")
            assert lines == list(enumerate(expected, start=1))
            assert len(source.keys) == len(lines)


@pytest.mark.parametrize("content", ["", "\n \n\r\n"])
def test_input_without_a_request(place, content):
    (place / "in.jsonl").write_text(content)
    assert find_left(place) == []


def test_long_lines_make_small_chunks(place, monkeypatch):
    monkeypatch.setattr("eshop_ray.inference.openai_batch.source.CHUNK_BYTES", 1)
    assert len(scan_source(str(place / "in.jsonl"), 100).chunks) == 6


def test_input_that_changes_meanwhile_is_noticed(place):
    source = scan_source(str(place / "in.jsonl"), 2)
    (place / "in.jsonl").write_text((place / "in.jsonl").read_text().replace("scarf", "shawl"))
    with pytest.raises(UserError, match=r"in\.jsonl: changed while it was being answered"):
        list(read_chunk(source.path, source.chunks[0]))
    (place / "in.jsonl").unlink()
    with pytest.raises(UserError, match=r"in\.jsonl: cannot be read"):
        list(read_chunk(source.path, source.chunks[0]))


def test_input_that_cannot_be_read(place):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        scan_source(str(place / "none.jsonl"), 2)
    with pytest.raises(UserError, match=r"in\.jsonl\.gz: is packed; unpack it first"):
        scan_source(str(place / "in.jsonl.gz"), 2)


def test_input_in_an_object_store(place, monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    try:
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint)
        client.create_bucket(Bucket="shop")
        client.upload_file(str(place / "in.jsonl"), "shop", "in.jsonl")
        here, there = (scan_source(path, 2) for path in (str(place / "in.jsonl"), "s3://shop/in.jsonl"))
        assert (here.digest, here.chunks) == (there.digest, there.chunks)
        assert list(read_chunk(there.path, there.chunks[1])) == list(read_chunk(here.path, here.chunks[1]))
    finally:
        server.stop()


def test_output_is_added_to(place):
    import pyarrow as pa

    for _ in range(2):
        with open_files(place) as files:
            rows = [{"is_error": False, "text": "é"}, {"is_error": True, "text": "b"}, {"is_error": False, "text": "c"}]
            counts = files.append(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA))
            assert counts == {"num_answered": 2, "num_failed": 1}
    assert (place / "out.jsonl").read_text() == "é\nc\n" * 2
    assert (place / "out.errors.jsonl").read_text() == "b\n" * 2


def test_rerun_with_something_else_is_refused(place):
    with open_files(place) as files:
        files.begin(IDENTITY, {"path": "in.jsonl"})
    with open_files(place) as files:
        files.begin({**IDENTITY, "model": "3"}, {})  # nothing was written yet
    (place / "out.jsonl").write_text(answered("a"))
    with open_files(place) as files, pytest.raises(UserError, match=r"was begun with another input and another mod"):
        files.begin({"input": "4", "model": "4"}, {})
    with open_files(place) as files:
        files.begin({**IDENTITY, "model": "3"}, {})
        files.finish({"num_answered": 1})
    manifest = json.loads((place / "out.jsonl.manifest.json").read_text())
    assert (manifest["model"], manifest["counts"], manifest["is_complete"]) == ("3", {"num_answered": 1}, True)


def test_files_of_somebody_else_are_left_alone(place):
    (place / "out.jsonl").write_text("precious\n")
    with (
        open_files(place) as files,
        pytest.raises(UserError, match=r"is not empty, and has no out\.jsonl\.man"),
    ):
        files.begin(IDENTITY, {})
    assert (place / "out.jsonl").read_text() == "precious\n"


def test_only_one_run_at_a_time(place):
    with open_files(place), pytest.raises(UserError, match="another run is writing it"), open_files(place):
        pass
    with open_files(place):
        pass


def test_places_that_cannot_be_written(place):
    with pytest.raises(UserError, match="output and error file are the same"), BatchFiles(place / "a", place / "a"):
        pass
    with pytest.raises(UserError, match="needs a local path"), BatchFiles(Path("s3://shop/a"), place / "b"):
        pass
    with pytest.raises(UserError, match="cannot be written"), BatchFiles(place / "in.jsonl" / "a", place / "b"):
        pass


def test_outputs_of_one_folder_share_no_error_file(tmp_path):
    outputs = [tmp_path / name for name in ("monday", "monday.jsonl", "monday.json", "monday.1.jsonl")]
    assert len({name_errors(output) for output in outputs} | set(outputs)) == 2 * len(outputs)


def test_resume_goes_on_with_its_own_error_file(place):
    with open_files(place) as files:
        files.begin(IDENTITY, {})
        (place / "out.jsonl").write_text(answered("a"))
    begun = r"out\.jsonl was begun with --errors out\.errors\.jsonl"
    with BatchFiles(place / "out.jsonl", place / "others.jsonl") as files, pytest.raises(UserError, match=begun):
        files.begin(IDENTITY, {})


def failures_of(place):
    return (place / "out.errors.jsonl").read_text()


@pytest.mark.parametrize(
    ("settings", "retry_failed", "is_asked_again"),
    [("a", False, False), ("b", False, True), ("a", True, True)],
)
def test_failures_are_asked_again_where_they_may_end_otherwise(place, settings, retry_failed, is_asked_again):
    with open_files(place) as files:
        files.begin(IDENTITY, {}, "a")
    (place / "out.jsonl").write_text(answered("a"))
    (place / "out.errors.jsonl").write_text(failed(4, "b"))
    with open_files(place) as files:
        files.begin(IDENTITY, {}, settings, retry_failed)
    assert (failures_of(place) == "") == is_asked_again
    assert (place / "out.jsonl").read_text() == answered("a")
    assert [row[1] for part in find_left(place) for row in part if row[0] == 4] == (["b"] if is_asked_again else [])


def ask_for(place, *models):
    lines = [json.loads(request(f"r{number}")) for number in range(len(models))]
    for line, model in zip(lines, models, strict=True):
        line["body"] |= {"model": model} if model else {}
    (place / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return scan_source(str(place / "in.jsonl"), 2)


def test_models_of_no_form_are_no_models(place):
    (place / "in.jsonl").write_text(
        "\n".join(json.dumps({"custom_id": "a", "body": {"model": model}}) for model in (["x"], {"a": 1}, 5, None, "b"))
    )
    assert scan_source(str(place / "in.jsonl"), 9).models == {None: 4, "b": 1}


def test_a_batch_for_other_models_is_refused_before_an_engine_starts(place):
    with pytest.raises(
        UserError, match=r"no request is for shop; their `model` is gpt-4o \(2\), b \(1\); name it with"
    ):
        check_models(ask_for(place, "gpt-4o", "b", "gpt-4o"), RULES)
    check_models(ask_for(place, "gpt-4o", "shop"), RULES)
    check_models(ask_for(place, "gpt-4o", None), RULES)
    check_models(ask_for(place), RULES)


def test_a_batch_that_mostly_failed_is_a_failure(place):
    (place / "out.errors.jsonl").write_text(failed(3) + failed(4, "b"))
    with open_files(place) as files:
        codes = files.count_codes()
    check_failures({"num_answered": 2, "num_failed": 2}, codes, 0.5, "there")
    with pytest.raises(UserError, match=r"2 of 3 requests failed, more than .*: 2 x engine; there says why"):
        check_failures({"num_answered": 1, "num_failed": 2}, codes, 0.5, "there")
    check_failures({"num_answered": 0, "num_failed": 0}, codes, 0.0, "there")
