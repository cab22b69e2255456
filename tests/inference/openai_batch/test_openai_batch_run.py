"""A batch through Ray: every line that is not blank ends as one line of the output or of the error file, once."""

import json
from collections import Counter
from pathlib import Path

import pytest

from eshop_ray.config import InferSection
from eshop_ray.inference.openai_batch import BatchFiles, Rules, answer_batch, look_through, open_batch

SECRET = "unobtainium"
NUM_REQUESTS = 150
RULES = Rules(("shop",))
OPTIONS = {"kill_on": "poison", "reject_on": "banned"}


def request(custom_id, text="wool scarf", url="/v1/chat/completions", **body):
    body = {"model": "shop", "messages": [{"role": "user", "content": f"{SECRET} {text} {custom_id}"}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


LINES = [request(f"r{index}", max_tokens=2) for index in range(NUM_REQUESTS)]
LINES[20:20] = [
    "",
    f'{{"custom_id": "{SECRET}',
    request("words", url="/v1/completions"),
    request("r3"),
    request("x", "poison"),
]
LINES[90:90] = [request("y", "banned"), request("choice", guided_choice=["red"]), request("r140", max_tokens=2)]
CODES = {
    (22, None): "invalid_json_line",
    (23, "words"): "invalid_url",
    (24, "r3"): "duplicate_custom_id",
    (25, "x"): "engine_killed",
    (91, "y"): "engine",
    (149, "r140"): "duplicate_custom_id",
}
"""Line and custom_id of each failure; `r140` is answered where it stands first."""


def run(folder, options=OPTIONS):
    """Answer the input there; the number of lines that had no result yet, and the counts."""
    infer = InferSection(engine="simulated", batch_size=8, engine_kwargs=options)
    source = look_through(str(folder / "in.jsonl"), infer)
    with BatchFiles(folder / "out.jsonl", folder / "out.errors.jsonl") as files:
        batch = open_batch(files, source, infer, {"model": "1"})
        return batch.num_open, answer_batch(batch, files, infer, Path(), RULES)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def batch(ray_session, tmp_path_factory):  # noqa: ARG001
    folder = tmp_path_factory.mktemp("batch")
    (folder / "in.jsonl").write_text("\n".join(LINES))
    return folder, *run(folder)


def test_every_request_is_answered_once(batch):
    folder, num_open, counts = batch
    assert num_open == len(LINES) - 1
    assert counts == {"num_answered": NUM_REQUESTS + 1, "num_failed": len(CODES)}
    answers = {answer["custom_id"]: answer for answer in read(folder / "out.jsonl")}
    assert answers.keys() == {"choice", *(f"r{index}" for index in range(NUM_REQUESTS))}
    assert len(read(folder / "out.jsonl")) == len(answers)
    texts = {name: one["response"]["body"]["choices"][0]["message"]["content"] for name, one in answers.items()}
    assert set(texts.values()) == {"red", f"{SECRET} wool"}
    body = answers["r7"]["response"]["body"]
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 6, "completion_tokens": 2}
    assert (body["model"], body["choices"][0]["finish_reason"]) == ("shop", "length")


def test_every_other_line_says_why_and_quotes_nothing(batch):
    folder, *_ = batch
    failures = read(folder / "out.errors.jsonl")
    found = {(one["line"], one["custom_id"]): one["response"]["body"]["error"]["code"] for one in failures}
    assert found == CODES
    assert len(read(folder / "out.errors.jsonl")) == len(found)
    assert SECRET not in (folder / "out.errors.jsonl").read_text()
    manifest = (folder / "out.jsonl.manifest.json").read_text()
    assert SECRET not in manifest
    assert json.loads(manifest)["is_complete"]
    assert json.loads(manifest)["counts"] == {"num_answered": NUM_REQUESTS + 1, "num_failed": len(CODES)}


def test_complete_batch_starts_no_engine(batch):
    folder, _, counts = batch
    before = [(folder / name).read_bytes() for name in ("out.jsonl", "out.errors.jsonl")]
    assert run(folder, {"no_such_option": "of a simulated engine"}) == (0, counts)
    assert [(folder / name).read_bytes() for name in ("out.jsonl", "out.errors.jsonl")] == before


def test_rerun_answers_what_is_missing(batch, tmp_path):
    folder, *_ = batch
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    kept = (folder / "out.jsonl").read_bytes()[:-700]  # ends within a line
    (tmp_path / "out.jsonl").write_bytes(kept)
    (tmp_path / "out.errors.jsonl").unlink()
    num_open, counts = run(tmp_path)
    assert num_open == NUM_REQUESTS + 1 - kept.count(b"\n") + len(CODES)
    assert counts == {"num_answered": NUM_REQUESTS + 1, "num_failed": len(CODES)}
    assert (tmp_path / "out.jsonl").read_bytes().startswith(kept[: kept.rindex(b"\n")])
    ids = Counter(one["custom_id"] for one in read(tmp_path / "out.jsonl"))
    assert ids == Counter(one["custom_id"] for one in read(folder / "out.jsonl"))


def test_empty_input_is_an_empty_output(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "in.jsonl").touch()
    assert run(tmp_path) == (0, {"num_answered": 0, "num_failed": 0})
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert f"{tmp_path}/in.jsonl: empty, there is nothing to answer" in caplog.text
