"""Lines of an input file, checked like requests; what is wrong is told by line and in no words of the line."""

import json
import tracemalloc

import pytest

from eshop_ray.inference.openai_batch.requests import digest_custom_id
from eshop_ray.serving.batches.lines import (
    MAX_ERRORS,
    Rules,
    build_line,
    check_file,
    find_custom_id,
    is_too_long,
    list_rest,
    read_lines,
)
from eshop_ray.serving.calls import ApiCall, PromptCall
from eshop_ray.serving.errors import RefusalError
from tests.serving.batches.made_batches import CHAT_URL, TASKS, request, write

RULES = Rules(CHAT_URL, ("eshop",), max_requests=1000, max_line_bytes=10_000)


def check(folder, content, rules=RULES):
    path = folder / "in.jsonl"
    path.write_bytes(content)
    return check_file(path, rules)


def test_a_file_in_order_has_blank_lines_and_an_end_of_any_kind(tmp_path):
    lines = [json.dumps(request(str(number))).encode() for number in range(3)]
    assert check(tmp_path, b"\xef\xbb\xbf" + lines[0] + b"\r\n\n   \n" + lines[1] + b"\n" + lines[2]) == (3, ())


GOOD = request("good")
BAD = [
    (b"{secret", "invalid_json_line", None),
    (b'["secret"]', "invalid_json_line", None),
    (b"\xff\xfe", "invalid_json_line", None),
    ({**GOOD, "x": "secret" * 2000}, "request_too_large", None),
    ({**GOOD, "custom_id": 7}, "invalid_custom_id", "custom_id"),
    ({**GOOD, "custom_id": "secret" * 100}, "invalid_custom_id", "custom_id"),
    ({**GOOD, "custom_id": "first"}, "duplicate_custom_id", "custom_id"),
    ({**GOOD, "method": "GET"}, "invalid_method", "method"),
    ({**GOOD, "url": "/v1/secret"}, "invalid_url", "url"),
    ({**GOOD, "url": "/v1/completions"}, "invalid_url", "url"),
    ({**GOOD, "body": "secret"}, "invalid_value", "body"),
    (request("good", model="secret"), "model_not_found", "body.model"),
    (request("good", stream=True), "invalid_value", "body.stream"),
    (request("good", stream="secret"), "invalid_value", "body.stream"),
    (request("good", top_k=2**70), "invalid_value", "body"),
]


@pytest.mark.parametrize(("line", "code", "param"), BAD, ids=range(len(BAD)))
def test_a_line_that_is_no_request(tmp_path, line, code, param):
    bad = line if isinstance(line, bytes) else json.dumps(line).encode()
    total, (error,) = check(tmp_path, write([request("first")]) + bad + b"\n" + write([request("last")]))
    assert total == 3
    assert (error.code, error.line, error.param) == (code, 2, param)
    assert "secret" not in error.message


def test_files_without_a_request_or_with_too_many(tmp_path):
    assert [error.code for error in check(tmp_path, b"\n \n")[1]] == ["empty_file"]
    many = write(request(str(number)) for number in range(3))
    rules = Rules(CHAT_URL, ("eshop",), max_requests=2, max_line_bytes=10_000)
    assert [error.code for error in check(tmp_path, many, rules)[1]] == ["too_many_requests"]


def test_a_file_of_another_kind_has_no_endless_list_of_errors(tmp_path):
    assert len(check(tmp_path, b"no JSON\n" * 1000)[1]) == MAX_ERRORS


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path):
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        for _ in range(20):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + write([request("after")]))
    tracemalloc.start()
    found = list(read_lines(path, 10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(number, is_too_long(line, 10_000)) for number, line in found] == [(1, True), (2, False)]
    assert peak < 2_000_000


def test_a_line_asks_what_the_same_request_would():
    body = request("1", n=2)["body"]
    line = build_line(body, RULES, TASKS, "id")
    assert line.call == ApiCall(CHAT_URL, body)
    assert line.read_body() == body
    assert line.task is None


def test_a_record_asks_its_task():
    rules = Rules("/v1/tasks/classification", ("eshop",), 10, 10_000)
    line = build_line({"text": "A spade.", "labels": ["Garden", "Kitchen"]}, rules, TASKS, "id")
    assert isinstance(line.call, PromptCall)
    assert line.task.name == "classification"
    with pytest.raises(RefusalError, match="takes records with"):
        build_line({"text": 3}, rules, TASKS, "id")
    with pytest.raises(RefusalError, match="no such task"):
        build_line({}, Rules("/v1/tasks/of-another-version", ("eshop",), 10, 10_000), TASKS, "id")


def test_the_rest_of_a_file(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(write(map(request, ["a", "b", "b", "c"])) + b"no JSON\n")
    assert list(list_rest(path, RULES, {digest_custom_id("a")})) == ["b", "c"]


def test_the_rest_of_a_file_has_what_is_no_request_by_the_rules_of_now(tmp_path):
    path = tmp_path / "in.jsonl"
    long = request("long", content="x" * 20_000)
    path.write_bytes(write([request("other", model="an adapter that is gone"), long, {"custom_id": 7}, request("b")]))
    assert list(list_rest(path, RULES, set())) == ["other", "long", "b"]


@pytest.mark.parametrize(
    ("line", "custom_id"),
    [
        (b'{"custom_id": "a", "body": {"messages": [{"role": "us', "a"),
        (b'\xef\xbb\xbf{"custom_id": "a"}\r\n', "a"),
        (b'{"custom_id": "a', None),
        (b'{"body": {"custom_id": "a"', None),
        (b'{"custom_id": "", "body"', None),
        (b'{"custom_id": "\\ud800", "body"', None),
        (b'["custom_id", "a"]', None),
        (b"no JSON", None),
    ],
)
def test_the_custom_id_of_a_line_is_found_in_its_beginning(line, custom_id):
    assert find_custom_id(line) == custom_id
