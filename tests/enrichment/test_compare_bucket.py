"""A bucket of products against last night's table in SQL: what a key is made of, and what is left for Python."""

import hashlib
import json
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eshop_ray.enrichment.compare import BucketTables, compare_bucket
from eshop_ray.enrichment.plan import PREVIOUS_ROWS, QUARANTINE_ROWS
from eshop_ray.enrichment.questions import PromptContext, build_question, identify_question
from eshop_ray.enrichment.scan import FIELD_PREFIX, REVIEW_ROWS, product_rows
from eshop_ray.enrichment.templates import build_template, list_columns
from eshop_ray.schema import content_id, encode
from eshop_ray.tasks import get_task
from eshop_ray.tasks.product import ProductForm
from tests.enrichment.contexts import context_of

TASKS = ("ner_tagging", "classification", "summarization")
TERMS = context_of(TASKS, ("A", "B"), "answers", 100)
PATHS = ("a.jsonl", "b.jsonl")


def product_row(product_id="p1", name="red scarf", description=None, category=None, problems=None, **place):
    """A row of the catalogue as it is read; `problems`: column -> reason code."""
    fields = {"name": name, "description": description, "category": category}
    told = {"problems": encode(problems) if problems else None}
    return {"product_id": product_id, **with_prefix(fields), **told, "file": 0, "line": 1, "element": 0, **place}


def with_prefix(fields):
    return {f"{FIELD_PREFIX}{name}": value for name, value in fields.items()}


def review_row(text, votes=0.0, product_id="p1"):
    return {"product_id": product_id, "text": text, "votes": votes}


def previous_row(key, status="enriched", product_id="p1", task="classification", prediction_key="", **kept):
    """A row of the table; it has the answer to its own question unless another is named, or None."""
    place = {"file": 3, "position": 7, "prediction_key": key if prediction_key == "" else prediction_key}
    return {"product_id": product_id, "task": task, "key": key, "status": status, **place, **kept}


def quarantined_row(reason="truncated", product_id="p1", task="classification", mark=None, attempts=2):
    mark = mark or content_id("row", product_id, task)
    return {"fingerprint": mark, "product_id": product_id, "task": task, "reason": reason, "attempts": attempts}


def find_changes(products=(), previous=(), quarantined=(), reviews=(), context=TERMS):
    schemas = (product_rows(list_columns(context.templates)), REVIEW_ROWS, PREVIOUS_ROWS, QUARANTINE_ROWS)
    rows = (products, reviews, previous, quarantined)
    tables = (pa.Table.from_pylist([*some], schema) for some, schema in zip(rows, schemas, strict=True))
    return compare_bucket(BucketTables(*tables), context, PATHS)


def keys_of(row, reviews=(), context=TERMS):
    """Task -> key of a product."""
    return find_changes([row], reviews=reviews, context=context).keys[row["product_id"]]


def tasks_of_another_key(before, after):
    return {task for task in TASKS if before[task] != after[task]}


def test_key_is_a_digest_of_the_question_and_of_each_column_with_its_length_in_bytes():
    row = product_row(name="Töpfe", problems={"description": "too_long"})
    keys = keys_of(row, [review_row("good", 1), review_row("größer", 2)])
    for task, columns in (
        ("ner_tagging", "6:Töpfe"),
        ("classification", "6:Töpfetoo_long0:"),
        ("summarization", "6:Töpfe8:größer4:good"),
    ):
        content = (identify_question(TERMS.templates[task], TERMS) + columns).encode()
        assert keys[task] == hashlib.sha256(content).hexdigest()[:32]


@pytest.mark.parametrize(
    ("other", "changed"),
    [
        ({"name": "red hat"}, {"ner_tagging", "classification", "summarization"}),
        ({"description": "warm"}, {"classification"}),
        ({"problems": {"description": "too_long"}}, {"classification"}),
        ({"category": "A", "line": 9, "file": 1, "product_id": "p2"}, set()),
    ],
)
def test_key_follows_the_columns_that_a_task_reads_and_nothing_else(other, changed):
    reviews = [review_row("good"), review_row("good", product_id="p2")]
    before, after = keys_of(product_row(), reviews), keys_of(product_row(**other), reviews)
    assert tasks_of_another_key(before, after) == changed


@pytest.mark.parametrize("column", ["name", "description"])
def test_column_that_is_missing_is_one_that_is_empty(column):
    assert keys_of(product_row(**{column: None})) == keys_of(product_row(**{column: ""}))


@pytest.mark.parametrize(
    ("context", "changed"),
    [
        (context_of(TASKS, ("A", "B"), "another model, engine or sampling", 100), set(TASKS)),
        (context_of(TASKS, ("A", "B", "C"), "answers", 100), {"classification"}),
        (context_of(TASKS, ("B", "A"), "answers", 100), {"classification"}),
        (context_of(TASKS, ("A", "B"), "answers", 99), {"summarization"}),
        (context_of(TASKS[::-1], ("A", "B"), "answers", 100), set()),
    ],
)
@pytest.mark.parametrize("reviews", [[], [review_row("good")]])
def test_key_follows_what_else_determines_the_answer(context, changed, reviews):
    before, after = keys_of(product_row(), reviews), keys_of(product_row(), reviews, context)
    assert tasks_of_another_key(before, after) == changed


@pytest.mark.parametrize(
    "other",
    [
        [],
        [review_row("good"), review_row("warm", 5)],
        [review_row("good", 5), review_row("warmer")],
        [review_row("good", 5), review_row("warm"), review_row("one that the budget leaves out " * 99)],
        [review_row("good", 5), review_row("warm", product_id="p2")],
    ],
)
def test_summary_is_asked_again_when_any_review_changes(other):
    before = keys_of(product_row(), [review_row("good", 5), review_row("warm")])
    assert tasks_of_another_key(before, keys_of(product_row(), other)) == {"summarization"}


@pytest.mark.parametrize(
    "other",
    [
        [review_row("warm"), review_row("good", 5)],
        [review_row("good", 4), review_row("warm", 1)],
        [review_row("good"), review_row("warm"), review_row("warm"), review_row("good", 5)],
        [review_row("good", 5), review_row("warm"), review_row("of another", 9, "p2")],
    ],
)
def test_reviews_of_the_same_texts_in_the_same_rank_are_the_same(other):
    before = keys_of(product_row(), [review_row("good", 5), review_row("warm")])
    assert keys_of(product_row(), other) == before


def test_reviews_of_equal_votes_are_in_the_order_of_their_texts_as_in_the_prompt():
    texts = ["Z", "a", "é", "漢", "\U0001f600", "\uffff"]
    (asked,) = {keys_of(product_row(), map(review_row, some))["summarization"] for some in (texts, texts[::-1])}
    ranked = [review_row(text, votes) for votes, text in enumerate(sorted(texts)[::-1])]
    assert keys_of(product_row(), ranked)["summarization"] == asked


def test_product_without_reviews_is_one_whatever_it_is_called():
    keys = [keys_of(product_row(name=name, problems=wrong)) for name, wrong in (("a", None), (None, {"name": "x"}))]
    assert keys[0]["summarization"] == keys[1]["summarization"]
    assert keys[0]["summarization"] != keys_of(product_row(name="a"), [review_row("good")])["summarization"]


texts = st.text(st.sampled_from("ab01:é漢"), max_size=3)
columns = st.one_of(st.none(), texts, st.sampled_from(["1:a", "0:", "0:0:", "not_utf8", "not_utf80:"]))
troubles = st.sampled_from(["wrong_type", "too_long", "not_utf8"])


@st.composite
def products_with_reviews(draw):
    """Products, `problems` in columns that are null then, and the texts of their reviews with their votes."""
    drawn = []
    for number in range(draw(st.integers(1, 12))):
        problems = draw(st.dictionaries(st.sampled_from(["name", "description"]), troubles, max_size=2))
        fields = {name: None if name in problems else draw(columns) for name in ("name", "description")}
        rated = draw(st.lists(st.tuples(texts.filter(bool), st.integers(0, 2)), max_size=3))
        drawn.append((product_row(f"p{number}", **fields, problems=problems, line=number), rated))
    return drawn


@settings(max_examples=60, deadline=None)
@given(products_with_reviews())
@example([(product_row("a", "1:a"), []), (product_row("b", "1", "a"), []), (product_row("c", None, "1:a"), [])])
@example([(product_row("a"), [("1:b", 0), ("c", 0)]), (product_row("b"), [("1:b1:c", 0)])])
def test_products_share_a_key_if_and_only_if_they_are_asked_the_same(drawn):
    reviews = {row["product_id"]: [review_row(*one, row["product_id"]) for one in rated] for row, rated in drawn}
    bucket = find_changes([row for row, _ in drawn], reviews=[one for some in reviews.values() for one in some])
    assert bucket.keys.keys() == reviews.keys()
    for task in TASKS:
        asked = {}
        for product_id, product in bucket.products.items():
            key = bucket.keys[product_id][task]
            seen = read_by(task, product["fields"], reviews[product_id])
            question = build_question(TERMS.templates[task], product["fields"], reviews[product_id], TERMS, len)
            told = (question.status, encode(question.fields), question.reason)
            assert asked.setdefault(key, (seen, told)) == (seen, told)
        assert len(asked) == len({encode(seen) for seen, _ in asked.values()})


def read_by(task, fields, reviews):
    """What a task reads of a product, as plain values."""
    ranked = sorted(reviews, key=lambda one: (-one["votes"], one["text"]))
    told = list(dict.fromkeys(one["text"] for one in ranked))
    if task == "summarization" and not told:
        return []
    names = ("name", "description") if task == "classification" else ("name",)
    return [[fields["problems"].get(name), fields[name] or ""] for name in names] + told * (task == "summarization")


def test_key_does_not_depend_on_what_else_is_in_the_bucket():
    alone = keys_of(product_row(), [review_row("good")])
    others = [product_row(f"x{number}", line=number) for number in range(2, 5)]
    repeated = [product_row("twice", line=number, file=1) for number in range(2)]
    reviews = [review_row("good"), *(review_row("bad", 3, f"x{number}") for number in range(5))]
    bucket = find_changes([*repeated, *others, product_row()], reviews=reviews)
    assert bucket.keys["p1"] == alone


def test_unchanged_products_are_counted_and_left_in_sql():
    rows = [product_row(f"p{number}", name=f"scarf {number}", line=number) for number in range(4)]
    reviews = [review_row("good", product_id="p0"), review_row("bad", product_id="p3")]
    known = find_changes(rows, reviews=reviews).keys
    previous = [
        previous_row(key, "enriched" if task != "summarization" else "empty", product_id, task)
        for product_id, keys in known.items()
        for task, key in keys.items()
    ]
    bucket = find_changes(rows, previous, reviews=reviews)
    assert bucket.num_unchanged == dict.fromkeys(TASKS, 4)
    assert not any((bucket.products, bucket.keys, bucket.reviews, bucket.previous, bucket.quarantined))
    rows[3] = product_row("p3", name="scarf 3", description="warm", line=3)
    bucket = find_changes(rows, previous, reviews=[*reviews, review_row("so-so", product_id="p2")])
    assert {product_id: [*keys] for product_id, keys in bucket.keys.items()} == {
        "p2": ["summarization"],
        "p3": ["classification"],
    }
    assert bucket.products.keys() == {"p2", "p3"}
    assert [row["text"] for row in bucket.reviews["p2"]] == ["so-so"]
    assert bucket.previous.keys() == {("p2", "summarization"), ("p3", "classification")}
    assert bucket.num_unchanged == {"ner_tagging": 4, "classification": 3, "summarization": 3}


@pytest.mark.parametrize("status", ["quarantined", "deleted"])
def test_row_of_the_same_key_that_is_not_well_is_looked_at(status):
    keys = keys_of(product_row())
    bucket = find_changes([product_row()], [previous_row(keys["classification"], status)])
    assert bucket.keys["p1"]["classification"] == keys["classification"]
    assert bucket.previous["p1", "classification"]["status"] == status
    assert bucket.num_unchanged["classification"] == 0


def test_row_of_the_same_key_of_another_product_or_task_is_none():
    key = keys_of(product_row())["classification"]
    others = [previous_row(key, product_id="p2"), previous_row(key, task="ner_tagging")]
    assert find_changes([product_row()], others).num_unchanged["classification"] == 0


def test_rows_of_products_that_left_are_given_but_for_tombstones():
    left = [previous_row("k", "deleted"), previous_row("k", "quarantined", task="summarization")]
    bucket = find_changes([product_row("p2")], [*left, previous_row("k", task="no_longer_asked")])
    assert bucket.previous.keys() == {("p1", "summarization"), ("p1", "no_longer_asked")}


def test_rows_of_tasks_that_are_asked_no_longer_are_given_but_for_tombstones():
    rows = [previous_row("k", task="former"), previous_row("k", "deleted", task="older")]
    key = keys_of(product_row())["classification"]
    bucket = find_changes([product_row()], [*rows, previous_row(key)])
    assert bucket.previous.keys() == {("p1", "former")}
    assert bucket.num_unchanged["classification"] == 1


def test_rows_of_the_table_are_counted_but_for_tombstones():
    rows = [previous_row("k"), previous_row("k", "quarantined", "p2"), previous_row("k", "deleted", "p3")]
    assert find_changes([product_row()], [*rows, previous_row("k", task="former")]).num_live == {
        "classification": 2,
        "former": 1,
    }


def test_changed_product_has_its_columns_its_place_and_what_is_wrong_with_it():
    row = product_row(description="warm", category="A", problems={"name": "wrong_type"}, name=None, file=1, line=7)
    (found,) = find_changes([row]).products.values()
    problems = {"problems": {"name": "wrong_type"}}
    assert found["fields"] == {"name": None, "description": "warm", "category": "A", **problems}
    assert (found["product_id"], found["path"], found["line"], found["element"]) == ("p1", "b.jsonl", 7, 0)
    assert find_changes([product_row()]).products["p1"]["fields"]["problems"] == {}


def test_row_that_cannot_be_read_is_no_product():
    bad = {"fingerprint": "mark", "reason": "unreadable", "message": "not JSON", "file": 1, "line": 3, "element": 0}
    bucket = find_changes([bad, product_row()])
    assert bucket.products.keys() == bucket.keys.keys() == {"p1"}
    assert (bucket.unreadable["mark"]["path"], bucket.unreadable["mark"]["reason"]) == ("b.jsonl", "unreadable")


def test_row_that_counts_of_a_repeated_id_is_compared_like_any_other():
    rows = [product_row(name="first", line=5), product_row("p2"), product_row(name="later", file=1, line=5)]
    keys = keys_of(rows[0])
    bucket = find_changes(rows)
    assert bucket.keys["p1"] == keys
    assert bucket.products["p1"]["fields"]["name"] == "first"
    assert bucket.products["p2"]["fields"] == find_changes([product_row("p2")]).products["p2"]["fields"]
    (later,) = bucket.unreadable.values()
    assert (later["path"], later["line"], later["reason"]) == ("b.jsonl", 5, "duplicate_id")
    bucket = find_changes(rows, [previous_row(keys["classification"])])
    assert bucket.num_unchanged["classification"] == 1
    assert "classification" not in bucket.keys["p1"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_rows_of_one_id_on_one_line_are_told_apart(order):
    rows = [product_row(name=f"name {element}", element=element) for element in range(3)]
    bucket = find_changes([rows[place] for place in order])
    assert bucket.products["p1"]["fields"]["name"] == "name 0"
    assert bucket.num_duplicates == len(bucket.unreadable) == 2


def test_empty_bucket_is_no_trouble():
    bucket = find_changes()
    assert bucket.num_unchanged == dict.fromkeys(TASKS, 0)
    assert not bucket.products


def with_forms(forms):
    """Name -> a template that reads of a product what its form says."""
    task = get_task("attributes")
    return {name: build_template(name, replace(task, format_input=str, product=form)) for name, form in forms.items()}


@pytest.mark.parametrize("column", ["reason", "it's", 'size "cm"', "a.b", "größe", "Name", "$.x[0]"])
def test_task_of_ones_own_reads_columns_of_any_name(column):
    """`problems` are looked up by name in JSON, columns in SQL."""
    forms = {"own": ProductForm((column,)), "ner_tagging": ProductForm(("name",))}
    context = PromptContext(with_forms(forms), "answers", 9)

    def keys(value, problems=None):
        told = encode(problems) if problems else None
        row = {**product_row(), **with_prefix({column: value}), "problems": told}
        return keys_of(row, context=context)["own"]

    found = [keys("x"), keys("y"), keys(None), keys(None, {column: "too_long"}), keys(None, {column: "wrong_type"})]
    assert len(set(found)) == 5
    assert keys("x", {"name": "too_long"}) == found[0]
    assert json.dumps(found) == json.dumps([key[:32] for key in found])


def test_columns_whose_names_differ_in_capitals_are_two():
    """SQL takes them for one."""
    forms = {"own": ProductForm(("Name",)), "ner_tagging": ProductForm(("name",))}
    context = PromptContext(with_forms(forms), "answers", 9)

    def find(**fields):
        bucket = find_changes([{**product_row(), **with_prefix(fields)}], context=context)
        return bucket.keys["p1"], bucket.products["p1"]["fields"]

    before, fields = find(name="a", Name="b")
    assert (fields["name"], fields["Name"]) == ("a", "b")
    after, _ = find(name="a", Name="c")
    assert (before["own"] == after["own"], before["ner_tagging"] == after["ner_tagging"]) == (False, True)


def test_key_follows_the_attributes_of_the_products_own_category():
    task = get_task("attributes")

    def keys(category, **attributes):
        asked = {"it's": {"color": ("red",)}, "Toys": {"age": None}, **attributes}
        context = PromptContext({"facts": build_template("facts", task, (), asked)}, "answers", 9)
        return keys_of(product_row(category=category), context=context)["facts"]

    toys = keys("Toys")
    assert toys == keys("Toys", **{"it's": {"color": ("red", "blue")}, "*": {"size": None}})
    assert toys != keys("Toys", Toys={"age": ("0-3",)})
    assert keys("it's") != keys("it's", **{"it's": {"color": ("red", "blue")}})
    assert keys("Garden") == keys(None) != keys("Garden", **{"*": {"size": None}})
    assert keys("Garden", **{"*": {"size": None}}) == keys(None, **{"*": {"size": None}})
