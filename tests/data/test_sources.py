import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eshop_ray.data.rows import to_rows
from eshop_ray.data.sources import READERS
from eshop_ray.data.sources.shopbench import METRICS_OF, TASKS
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def read(name, content, path="file.jsonl", **options):
    data = content if isinstance(content, bytes) else content.encode()
    return list(READERS[name](io.BytesIO(data), path, options))


def read_questions(*rows, path="SA.jsonl"):
    return read("shopbench", "\n".join(json.dumps(row) for row in rows), path=path)


def question(answer, task_type="multiple-choice", prompt="Which?\n0. a\n1. b\n2. c\nAnswer:", metric="", **more):
    task = TASKS.get(task_type.strip().lower().replace(" ", "-"), "multiple_choice")
    metric = metric or METRICS_OF[task][0]
    return {"input_field": prompt, "output_field": answer, "task_type": task_type, "metric": metric, **more}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (question("x", "generation", metric="rougeL-f"), "unknown `metric` 'rougeL-f'; did you mean 'rougel'"),
        (question([1.0, 0, 0.1], "ranking", metric="accuracy"), "`metric` 'accuracy' does not score"),
        (question(1, metric=["accuracy"]), "unknown `metric`"),
    ],
)
def test_a_question_with_a_metric_that_cannot_score_it_is_malformed(row, reason):
    (found,) = read_questions(row)
    assert isinstance(found, Malformed)
    assert reason in found.reason


class TestQueryner:
    def test_queries_are_split_at_blank_lines(self):
        records = read("queryner", "red\tB-color\nwool\tB-material\nscarf\tO\n\n\nmug\tB-core_product_type")
        assert [record["tokens"] for record in records] == [["red", "wool", "scarf"], ["mug"]]
        assert records[0]["target"] == {"tokens": ["red", "wool", "scarf"], "tags": ["B-color", "B-material", "O"]}

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("scarf", "expected `token TAB tag`"),
            ("scarf\t", "expected `token TAB tag`"),
            ("\tB-color", "expected `token TAB tag`"),
            ("scarf\tX-color", "neither O nor B- or I-"),
            ("scarf\tI-material", "a span begins with B-"),
            ("scarf\tB-", "neither O nor B- or I-"),
        ],
    )
    def test_a_bad_line_leaves_out_its_query_and_is_named(self, line, reason):
        records = read("queryner", f"red\tB-color\n{line}\n\nmug\tB-x\n", path="q.conll")
        assert (records[0].path, records[0].line) == ("q.conll", 2)
        assert reason in records[0].reason
        assert records[1]["tokens"] == ["mug"]

    def test_bytes_that_are_not_utf8(self):
        (bad, good) = read("queryner", b"r\xffd\tB-color\n\nmug\tB-x\n")
        assert bad.line == 1
        assert good["tokens"] == ["mug"]


class TestShopbench:
    def test_task_metric_and_group(self):
        (record,) = read_questions(question(1, task_name="task7"))
        assert record["task"] == "multiple_choice"
        assert (record["target"], record["metric"], record["group"]) == (1, "accuracy", "task7")
        assert read_questions(question(1), path="x/SA.json.gz")[0]["group"] == "SA"

    def test_array_and_lines_read_alike(self):
        rows = [question(0), question(2)]
        assert read("shopbench", json.dumps(rows)) == read_questions(*rows, path="file.jsonl")

    @pytest.mark.parametrize(
        ("task_type", "answer", "task", "target"),
        [
            ("multiple-choice", "2", "multiple_choice", 2),
            ("generation", "a title", "generation", "a title"),
            ("generation", ["one", "two"], "generation", ["one", "two"]),
            ("retrieval", [0, 2], "retrieval", [0, 2]),
            ("retrieval", "[0, 2]", "retrieval", [0, 2]),
            ("retrieval", "0,2", "retrieval", [0, 2]),
            ("ranking", [0, 3, 1.5], "ranking", [0, 3, 1.5]),
            ("named_entity_recognition", ["red", "blue"], "ner", ["red", "blue"]),
            ("named_entity_extraction", "['red', 'blue']", "ner", ["red", "blue"]),
            ("named_entity_recognition", "red, blue", "ner", ["red", "blue"]),
        ],
    )
    def test_answers_of_every_task(self, task_type, answer, task, target):
        (record,) = read_questions(question(answer, task_type))
        assert (record["task"], record["target"]) == (task, target)

    @pytest.mark.parametrize(
        "row",
        [
            question(3),
            question("none of them"),
            question(True),
            question([9], "retrieval"),
            question([], "retrieval"),
            question([1], "ranking"),
            question("", "generation"),
            question([], "named_entity_recognition"),
            question(1, "telepathy"),
            question(1, prompt=" "),
            question("maybe", metric="bool"),
        ],
    )
    def test_unusable_rows_are_reported(self, row):
        (good, bad) = read_questions(question(0), row)
        assert not isinstance(good, Malformed)
        assert isinstance(bad, Malformed)
        assert bad.line == 2

    def test_yes_or_no_becomes_classification(self):
        (record,) = read_questions(question("Yes", metric="bool", prompt="The same product?"))
        assert record["task"] == "classification"
        assert (record["text"], record["labels"], record["target"]) == ("The same product?", ["no", "yes"], "yes")

    def test_gap_in_the_numbers_is_closed(self):
        (record,) = read_questions(question(2, prompt="1. Which?\n0. buy\n1. view\n3. similar\nAnswer: "))
        assert record["prompt"] == "1. Which?\n0. buy\n1. view\n2. similar\nAnswer: "
        assert record["target"] == 2
        assert "renumbered" in record["repaired"]

    def test_numbers_in_a_review_are_not_options(self):
        prompt = "Rate it on a scale of 1 to 5.\nInput: Two things:\n1. nice\n3. cheap\nOutput:"
        (record,) = read_questions(question(5, prompt=prompt))
        assert (record["prompt"], record["target"]) == (prompt, 5)

    def test_final_answer_of_a_reasoning_text(self):
        prompt = "2 + 2?\n0. 4\n1. 5\nAnswer: Let's think step by step."
        (record,) = read_questions(question("It is 4. Therefore, the answer is 0.", "generation", prompt))
        assert (record["task"], record["metric"], record["target"]) == ("multiple_choice", "accuracy", 0)
        assert record["prompt"] == "2 + 2?\n0. 4\n1. 5\nAnswer: "

    @pytest.mark.parametrize(
        ("prompt", "text"),
        [
            ("2 + 2?", "Two and two.\n#### 4"),
            ("2?\n0. 4\n1. 5\nAnswer: Let's think step by step.", "Therefore, the answer is 0 or 1."),
            ("2?\n0. 4\n1. 5\nAnswer: Let's think step by step.", "Therefore, the answer is 7."),
        ],
    )
    def test_reasoning_without_a_final_answer_is_reported(self, prompt, text):
        assert isinstance(read_questions(question(text, "generation", prompt))[0], Malformed)

    def test_answers_follow_the_printed_numbers(self):
        prompt = "Choose.\nList:\n1. a\n2. b\n3. c\nOutput:"
        assert read_questions(question([1, 3], "retrieval", prompt))[0]["target"] == [1, 3]
        assert isinstance(read_questions(question([0, 3], "retrieval", prompt))[0], Malformed)

    def test_missing_column_and_broken_array_are_named(self):
        with pytest.raises(UserError, match="no row has output_field"):
            read_questions({"input_field": "x", "task_type": "generation"})

    def test_a_broken_question_of_an_array_costs_itself(self):
        row = {"input_field": "x", "output_field": "y", "task_type": "generation"}
        good, bad = read("shopbench", f'[{json.dumps(row)}, {{"input_field": }}]')
        assert good["target"] == "y"
        assert "not JSON" in bad.reason


class TestCatalog:
    ROWS = [{"id": "1", "name": "Mug", "category": "Kitchen", "description": "Holds\ntea."}, {"name": "Hose"}]

    def check(self, records):
        assert records[0] == {
            "task": "classification",
            "group": "product_category",
            "id": "1",
            "text": "Mug\nHolds tea.",
            "target": "Kitchen",
        }
        assert "`category` is missing" in records[1].reason

    def test_yaml(self):
        text = "- {id: 1, name: Mug, category: Kitchen, description: Holds tea.}\n- {name: Hose}\n"
        self.check(read("catalog", text, path="p.yaml"))

    def test_json_lines(self):
        self.check(read("catalog", "\n".join(map(json.dumps, self.ROWS)), path="p.jsonl.gz"))

    def test_csv_with_quoted_line_breaks(self):
        text = 'id,name,category,description\n1,Mug,Kitchen,"Holds\ntea."\n2,Hose,,\n3,too,few\n'
        records = read("catalog", text, path="p.csv")
        self.check(records)
        assert (records[1].line, records[2].line) == (4, 5)
        assert "expected 4 columns" in records[2].reason

    def test_parquet(self):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(self.ROWS), buffer)
        self.check(read("catalog", buffer.getvalue(), path="p.parquet"))

    def test_columns_can_be_renamed(self):
        row = json.dumps({"title": "Mug", "category": "Kitchen"})
        (record,) = read("catalog", row, columns={"name": "title"}, group="aisle")
        assert (record["text"], record["group"]) == ("Mug", "aisle")

    def test_missing_column_is_named(self):
        with pytest.raises(UserError, match=r"no column name; found category, title"):
            read("catalog", json.dumps({"title": "Mug", "category": "Kitchen"}))
        with pytest.raises(UserError, match="unknown key `colums`; did you mean `columns`"):
            read("catalog", "{}", colums={})
        with pytest.raises(UserError, match=r"p\.xlsx: neither contents nor ending tell a format of rows"):
            read("catalog", "", path="p.xlsx")


class TestReviews:
    def test_summaries_keep_quotes_and_all_references(self):
        text = 'cat\trev1\trev2\tsumm1\tsumm2\nx\t5" long\t"so so\tfine\tgood\nx\tonly one\n'
        record, bad = read("reviews", text, path="r.tsv")
        assert record["reviews"] == ['5" long', '"so so']
        assert record["target"] == ["fine", "good"]
        assert bad.line == 3

    def test_summaries_without_columns(self):
        with pytest.raises(UserError, match="no row has rating, text"):
            read("reviews", "a\tb\n1\t2\n", path="r.tsv")

    def test_ratings(self):
        row = {"rating": 4.0, "title": "Good", "text": "Works.<br />Fine."}
        (record,) = read("reviews", json.dumps(row))
        assert (record["text"], record["target"], record["group"]) == ("Good\nWorks. Fine.", "4", "review_rating")

    @pytest.mark.parametrize("row", [{"rating": 6}, {"rating": True}, {"rating": 4.5}, {"text": ""}, {"title": 3}])
    def test_bad_rating_rows_are_reported(self, row):
        good = {"rating": 5.0, "title": "", "text": "Works."}
        assert isinstance(read("reviews", json.dumps({**good, **row}))[0], Malformed)


ENDINGS = ("file.jsonl", "file.yaml", "file.csv", "file.parquet", "file.tsv")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["input_field", "output_field", "task_type", "metric", "rating", "text", "title", "id", "name", "category"]
)
ROWS = st.lists(
    st.dictionaries(KEYS, JSON | st.sampled_from(["generation", "ranking", "bool"]), max_size=6), max_size=5
)


def survive(name, path, data):
    try:
        rows = list(to_rows(READERS[name](io.BytesIO(data), path, {}), path, None))
    except UserError:
        return
    for row in rows:
        json.dumps(row).encode()


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=200) | st.text(alphabet='[]{}",:\t\n 01.-BIOx\u00e9\ufeff', max_size=80).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_a_source_raise(name, data):
    for path in ENDINGS:
        survive(name, path, data)


@pytest.mark.parametrize("name", ["shopbench", "catalog", "reviews"])
@given(rows=ROWS)
@settings(max_examples=100, deadline=None)
def test_no_values_make_a_source_raise(name, rows):
    survive(name, "file.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"messages": None}, "`messages`"),
        ({"messages": [{"role": "user"}]}, "`messages.0.content`"),
        ({"target": "no JSON"}, "`target`"),
        ({"task": "chess"}, "unknown task `chess`"),
    ],
)
def test_an_instruction_row_that_lacks_a_part_says_which(spoilt, reason):
    good = {"id": "1", "task": "ner", "messages": [{"role": "user", "content": "Which?"}], "target": '["a"]'}
    assert read("instructions", json.dumps(good))[0]["target"] == ["a"]
    (bad,) = read("instructions", json.dumps({**good, **spoilt}))
    assert isinstance(bad, Malformed)
    assert bad.reason.startswith(reason)
