"""Two runs row by row, and the gate, by the command as people call it."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.cli import main
from eshop_ray.schema import PREDICTION_SCHEMA, RECORD_SCHEMA, encode

NUM_ROWS = 120


def make_row(number, prediction, **values):
    question = "Ist das Rad rot?" if number % 2 else "\u81ea\u8ee2\u8eca\u306f\u8d64\u3044\u3067\u3059\u304b"
    defaults = {
        "id": f"{number:03}",
        "task": "multiple_choice",
        "group": "quiz",
        "metric": "accuracy",
        "target": encode(number % 3),
        "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": f"{question} {number}"}],
        "num_input_tokens": 10 + number,
        "error": None,
    }
    return {**defaults, "prediction": encode(prediction), **values}


def write_run(folder, rows, split="dev"):
    target = folder / "predictions" / f"split={split}"
    target.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), target / "part-0.parquet")
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two runs of two groups: the second loses thirty of the sixty odd rows of `quiz`, and gains two others."""
    first, second = [], []
    for number in range(NUM_ROWS):
        right, wrong = number % 3, (number + 1) % 3
        first.append(make_row(number, wrong if number in (0, 2) else right))
        second.append(make_row(number, wrong if number % 2 and number < 60 else right))
    steady = [make_row(number, number % 3, id=f"s{number}", group="steady") for number in range(40)]
    return write_run(tmp_path / "first", [*first, *steady]), write_run(tmp_path / "second", [*second, *steady])


def run(*words):
    """Call the command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, words)])
    return ended.value.code


def read(folder):
    return json.loads((folder / "comparison.json").read_text())


def test_groups_slices_and_flips(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*runs, "--out", out) == 0
    groups = read(out)["groups"]
    quiz = groups["quiz"]
    assert (quiz["first"], quiz["second"], quiz["num_rows"]) == (pytest.approx(118 / 120), 0.75, 120)
    assert (quiz["test"]["num_better"], quiz["test"]["num_worse"], quiz["test"]["test"]) == (2, 30, "mcnemar")
    assert quiz["test"]["low"] < quiz["test"]["difference"] < quiz["test"]["high"] < 0
    assert groups["steady"]["test"]["p_adjusted"] == 1
    slices = {(part["by"], part["name"]): part for part in quiz["slices"]}
    assert slices["script", "latin"]["second"] == 0.5
    assert slices["script", "latin"]["test"]["p_adjusted"] < 0.001
    japanese = next(part for (by, name), part in slices.items() if by == "script" and name != "latin")
    assert (japanese["second"], japanese["test"]["num_worse"]) == (1.0, 0)
    assert {name for by, name in slices if by == "target"} == {"0", "1", "2"}
    assert slices["prompt length", "1: up to 49 tokens"]["test"]["num_rows"] == 40
    flips = [json.loads(line) for line in (out / "flips.jsonl").read_text().splitlines()]
    assert len(flips) == 32
    assert (flips[0]["id"], flips[0]["first_score"], flips[0]["second_score"]) == ("001", 1.0, 0.0)
    assert [row["id"] for row in flips[-2:]] == ["000", "002"]
    assert flips[0]["question"] == "Ist das Rad rot? 1"
    page = (out / "comparison.html").read_text()
    assert "The second run is worse on <code>quiz</code>." in page
    assert "Changed: quiz, rows 1 to 32 of 32" in page
    assert "steady, rows" not in page
    assert "worse on" in capsys.readouterr().out


def test_a_page_has_some_of_many_rows_and_the_file_has_all(tmp_path):
    first = write_run(tmp_path / "first", [make_row(number, 7) for number in range(620)])
    second = write_run(tmp_path / "second", [make_row(number, number % 3) for number in range(620)])
    assert run(first, second, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "rows 451 to 500 of 620" in page
    assert "120 more stand in <code>flips.jsonl</code>." in page
    assert len((tmp_path / "out" / "flips.jsonl").read_text().splitlines()) == 620


@pytest.mark.parametrize(
    ("gate", "status", "message"),
    [
        ("max_loss: 0.1", 4, r"the gate is closed: `quiz` loses more than 0\.1 of 0\.983: -0\.233, between .* at 95%"),
        ("max_loss: 0.1\ngroups: {quiz: 0.3}", 0, ""),
        ("max_loss: 0.2", 0, ""),
        ("max_loss: 0.25\nfails: unless_kept", 4, r"`quiz` may lose more than 0\.25"),
        ("max_loss: 0.4\nfails: unless_kept\nlevel: 0.99", 0, ""),
        ("groups: {quizz: 0.1}", 2, r"the gate names the group `quizz`, .* did you mean `quiz`"),
        ("max_los: 0.1", 2, r"gate .*max_los.*max_loss"),
        ("- 1", 2, r"gate .*"),
        ("a: [", 2, r"gate .* not valid YAML"),
    ],
)
def test_gate(runs, tmp_path, capsys, gate, status, message):
    (tmp_path / "gate.yaml").write_text(gate)
    words = (*runs, "--out", tmp_path / "out", "--gate", tmp_path / "gate.yaml")
    assert run(*words) == status
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "other"}, "1 row missing in the first, such as multiple_choice/other; group `quiz`: 1 row missing in"),
        ({"target": encode(2)}, "1 row held against other targets, such as multiple_choice/000"),
        ({"group": "new"}, "group `new`: 1 row missing in the first, such as multiple_choice/000"),
        ({"metric": "ndcg"}, "1 row scored by other metrics, such as multiple_choice/000"),
        ({"id": "001"}, "1 row answered more than once, such as multiple_choice/001; group `quiz`: 1 row missing in"),
    ],
)
def test_other_rows_are_no_comparison(tmp_path, capsys, change, message):
    rows = [make_row(number, 1) for number in range(4)]
    first = write_run(tmp_path / "first", rows)
    second = write_run(tmp_path / "second", [{**rows[0], **change}, *rows[1:]])
    assert run(first, second, "--out", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_a_group_of_two_metrics_is_two(tmp_path, capsys):
    rows = [make_row(number, number % 3, metric=("accuracy", "hit rate@3")[number // 60]) for number in range(NUM_ROWS)]
    rows = [{**row, "target": encode([1])} if row["metric"] != "accuracy" else row for row in rows]
    rows = [{**row, "prediction": encode([1])} if row["metric"] != "accuracy" else row for row in rows]
    lost = [{**row, "prediction": encode([2])} if row["metric"] != "accuracy" else row for row in rows]
    first, second = write_run(tmp_path / "first", rows), write_run(tmp_path / "second", lost)
    (tmp_path / "gate.yaml").write_text("groups: {quiz: 1.0}")
    assert run(first, second, "--out", tmp_path / "out", "--gate", tmp_path / "gate.yaml") == 0
    groups = read(tmp_path / "out")["groups"]
    assert {name: (one["num_rows"], one["first"], one["second"]) for name, one in groups.items()} == {
        "quiz (accuracy)": (60, 1.0, 1.0),
        "quiz (hit rate@3)": (60, 1.0, 0.0),
    }
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "Changed: quiz (hit rate@3), rows 1 to 50 of 60" in page
    (tmp_path / "gate.yaml").write_text("groups: {quiz (hit rate@3): 0.5}")
    capsys.readouterr()
    assert run(first, second, "--out", tmp_path / "out", "--gate", tmp_path / "gate.yaml") == 4
    assert "`quiz (hit rate@3)` loses more than 0.5 of 1.000" in " ".join(capsys.readouterr().err.split())


def lose(num_rows, num_lost, **values):
    """Return the answers of two runs, of which the second loses some rows."""
    rows = [make_row(number, number % 3, **values) for number in range(num_rows)]
    return rows, [make_row(number, 7 if number < num_lost else number % 3, **values) for number in range(num_rows)]


@pytest.mark.parametrize(
    ("num_rows", "num_lost", "gate", "status"),
    [
        (1, 1, "{}", 0),
        (100, 4, "{}", 0),
        (1000, 5, "{}", 0),
        (100, 6, "{}", 4),
        (4, 0, "fails: unless_kept", 4),
        (60, 0, "fails: unless_kept", 0),
    ],
)
def test_a_gate_closes_on_no_loss_that_is_chance_and_opens_on_no_handful_of_rows(
    tmp_path, num_rows, num_lost, gate, status
):
    first, second = (
        write_run(tmp_path / name, rows)
        for name, rows in zip(("first", "second"), lose(num_rows, num_lost), strict=True)
    )
    (tmp_path / "gate.yaml").write_text(gate)
    assert run(first, second, "--out", tmp_path / "out", "--gate", tmp_path / "gate.yaml") == status
    test = read(tmp_path / "out")["groups"]["quiz"]["test"]
    assert (test["high"] < 0) == (test["p_value"] < 0.05)


def test_rows_of_one_query_count_as_one(runs, tmp_path):
    folder = tmp_path / "second" / "records" / "task=multiple_choice" / "split=dev"
    folder.mkdir(parents=True)
    records = [
        {"id": f"{number:03}", "task": "multiple_choice", "fields": encode({"query": str(number // 4)})}
        for number in range(NUM_ROWS)
    ]
    pq.write_table(pa.Table.from_pylist(records, schema=RECORD_SCHEMA), folder / "part-0.parquet")
    (tmp_path / "second" / "config.yaml").write_text("name: second\nevaluate: {clusters: {quiz: query}}\n")
    assert run(*runs, "--out", tmp_path / "out") == 0
    groups = read(tmp_path / "out")["groups"]
    assert [groups[name]["test"]["num_clusters"] for name in ("quiz", "steady")] == [30, 40]
    assert groups["quiz"]["test"]["test"] == "randomization"
    (first, *_) = (part for part in groups["quiz"]["slices"] if part["by"] == "prompt length")
    assert (first["test"]["num_rows"], first["test"]["num_clusters"]) == (40, 10)


def test_groups_of_one_name_in_two_tasks_are_compared_apart(tmp_path):
    first, second = lose(40, 30)
    others = [make_row(number, 1, id=f"c{number}", task="classification", target=encode(1)) for number in range(40)]
    folders = write_run(tmp_path / "first", [*first, *others]), write_run(tmp_path / "second", [*second, *others])
    assert run(*folders, "--out", tmp_path / "out") == 0
    groups = read(tmp_path / "out")["groups"]
    assert {name: one["test"]["num_worse"] for name, one in groups.items()} == {
        "classification/quiz": 0,
        "multiple_choice/quiz": 30,
    }


def test_records_of_the_run_divide_its_rows(runs, tmp_path):
    fields = [{"question": "Ist das Rad rot oder blau?", "brand": f"b{number % 2}"} for number in range(NUM_ROWS)]
    records = [
        {"id": f"{number:03}", "task": "multiple_choice", "fields": encode(one)} for number, one in enumerate(fields)
    ]
    folder = tmp_path / "second" / "records" / "task=multiple_choice" / "split=dev"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records, schema=RECORD_SCHEMA), folder / "part-0.parquet")
    (tmp_path / "second" / "config.yaml").write_text("name: second\nevaluate: {slices: {quiz: brand}}\n")
    assert run(*runs, "--out", tmp_path / "out") == 0
    slices = {(one["by"], one["name"]): one for one in read(tmp_path / "out")["groups"]["quiz"]["slices"]}
    assert slices["brand", "b1"]["second"] == 0.5
    assert not any(way == "language" for way, _ in slices)


def test_half_a_character_in_an_answer_is_written_and_read(tmp_path):
    first = write_run(tmp_path / "first", [make_row(number, "\udc00 ä") for number in range(3)])
    second = write_run(tmp_path / "second", [make_row(number, number) for number in range(3)])
    assert run(first, second, "--out", tmp_path / "out") == 0
    lines = (tmp_path / "out" / "flips.jsonl").read_text().splitlines()
    assert [json.loads(line)["first"] for line in lines] == ["\udc00 ä"] * 3
    assert "ä" in lines[0]


def test_which_answers_are_compared_is_asked_where_it_is_not_plain(tmp_path, capsys):
    rows = [make_row(number, 1) for number in range(4)]
    first, second = (write_run(tmp_path / name, rows) for name in ("first", "second"))
    write_run(second, rows, "test")
    assert run(first, second, "--out", tmp_path / "out") == 2
    assert "second has answered dev, test; name one: --split dev" in " ".join(capsys.readouterr().err.split())
    assert run(first, second, "--out", tmp_path / "out", "--split", "dev") == 0
    assert (
        run(first / "predictions" / "split=dev", second / "predictions" / "split=test", "--out", tmp_path / "out") == 0
    )
    assert run(tmp_path, second, "--out", tmp_path / "out") == 2
    assert "holds no predictions" in capsys.readouterr().err
