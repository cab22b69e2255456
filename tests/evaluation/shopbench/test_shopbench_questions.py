"""Files of ShopBench's format: what is read, and what is named because it cannot be scored."""

import json

import pytest

from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.questions import read_questions, sample_questions
from tests.evaluation.shopbench.conftest import question

CHOICE = question("Which?\n0. a\n1. b\nAnswer:", 1, "multiple-choice", "accuracy", "choices")


def test_published_rows_are_read_as_they_are(load, rows):
    found = load(rows)
    assert (len(found.questions), found.malformed, found.repeats, found.has_gold) == (36, [], [], True)
    first, second = found.questions[:2]
    assert (first.group, first.track, first.line, first.is_multiple_choice) == ("choices", 1, 1, True)
    assert (first.gold.task, first.gold.metric, first.gold.target) == ("multiple_choice", "accuracy", 1)
    assert (second.gold.task, second.is_multiple_choice) == ("ner", False)


def test_hidden_rows_have_no_gold(load):
    found = load([{"input_field": CHOICE["input_field"], "is_multiple_choice": True}])
    assert not found.has_gold
    assert found.questions[0].is_multiple_choice


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric": "acuracy"}, "unknown `metric` 'acuracy'; did you mean 'accuracy'?"),
        ({"task_type": "riddle"}, "`task_type` 'riddle' is none of"),
        ({"task_type": None}, "`task_type` None is none of"),
        ({"metric": "ndcg"}, "`metric` 'ndcg' does not score `task_type` 'multiple-choice'"),
        ({"output_field": "b"}, "answer 'b' is not the number of an option"),
        ({"output_field": [1]}, r"answer \[1\] is not the number of an option"),
        ({"output_field": 7}, "answer 7 is none of the question's options"),
        ({"task_type": "ranking", "metric": "ndcg"}, "answer 1 is not a list of relevance weights"),
        (
            {"task_type": "retrieval", "metric": "hit rate@3", "output_field": "a"},
            "answer 'a' is not a list of option numbers",
        ),
        ({"task_type": "generation", "metric": "bleu", "output_field": {"a": 1}}, "answer {'a': 1} is not text"),
        ({"input_field": "  "}, "`input_field` is missing or empty"),
        ({"is_multiple_choice": "maybe"}, "`is_multiple_choice` 'maybe' is neither true nor false"),
        ({"track": "track 9"}, "`track` 'track 9' is none of"),
    ],
)
def test_row_that_cannot_be_scored_is_named_by_file_and_line(load, rows, changes, reason):
    with pytest.raises(UserError, match=rf"1 of 37 rows are malformed(?s:.*)questions\.jsonl:37: {reason}"):
        load([*rows, {**CHOICE, **changes}])
    found = load([*rows, {**CHOICE, "track": 1, **changes}], data={"max_malformed_share": 0.1})
    assert (len(found.questions), found.describe()["num_malformed"]) == (36, 1)


def test_repeats_are_left_out_and_told(load):
    other = {**CHOICE, "output_field": 0}
    found = load([CHOICE, {**CHOICE, "task_name": "elsewhere"}, CHOICE, other])
    assert [(one.group, one.line) for one in found.questions] == [("choices", 1), ("elsewhere", 2)]
    told = found.describe()
    assert (told["num_rows"], told["num_repeats"], told["num_repeats_with_another_answer"]) == (4, 2, 1)
    assert told["repeats"][1].endswith("questions.jsonl:4 repeats " + told["repeats"][1].rpartition(" ")[2])


def test_some_answers_are_no_answers(load, rows):
    del rows[4]["output_field"]
    with pytest.raises(UserError, match=r"1 question of 36 have no `output_field` \(.*questions\.jsonl:5\)"):
        load(rows)


def test_some_tracks_are_no_tracks(load, rows):
    del rows[0]["track"]
    with pytest.raises(UserError, match=r"of no track \(choices\).*name theirs in `shopbench.tracks`"):
        load(rows)
    found = load(rows, shopbench={"tracks": {"choices": 3}})
    assert {one.track for one in found.questions if one.group == "choices"} == {3}


def test_task_is_of_one_track(load, rows):
    rows[0]["track"] = "track 4"
    with pytest.raises(UserError, match="task `choices` is in tracks 1, 4; give it a name"):
        load(rows)


def test_metrics_without_a_common_mean_make_no_task(load, rows):
    rows[1] = {**rows[1], "task_name": "choices"}
    with pytest.raises(UserError, match="task `choices` mixes the metrics accuracy, micro f1"):
        load(rows)


@pytest.mark.parametrize("rows_of_file", [[], [{"question": "no such column"}]])
def test_file_without_questions_is_no_benchmark(load, rows_of_file):
    with pytest.raises(UserError, match=r"no question in it|no row has input_field"):
        load(rows_of_file)


def test_sample_is_of_each_task_and_always_the_same(load, rows):
    questions = load(rows).questions
    few, more = sample_questions(questions, 2), sample_questions(questions, 3)
    assert len(few) == 12
    assert {one.id for one in few} < {one.id for one in more} < {one.id for one in questions}
    assert sample_questions(questions, None) == questions


def test_files_of_one_name_are_two_tasks(tmp_path):
    for name in ("Generation", "MCQ"):
        (tmp_path / name).mkdir()
        row = {key: value for key, value in CHOICE.items() if key != "task_name"}
        (tmp_path / name / "PKS.json").write_text(json.dumps([row]))
    found = read_questions(Config(name="bench", data={"root": str(tmp_path)}), "**/*.json")
    assert [one.group for one in found.questions] == ["Generation/PKS", "MCQ/PKS"]
