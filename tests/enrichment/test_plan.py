"""What a night decides about each product's task: pure comparison of a bucket with last night's rows."""

from collections import Counter

import pytest

from eshop_ray.enrichment.plan import Bucket, group_equal_questions, plan_bucket
from eshop_ray.enrichment.questions import PromptContext, build_question
from eshop_ray.schema import decode, encode

TERMS = PromptContext(("classification", "summarization"), ("A", "B"), "answers", 100)


def words(text):
    return len(text.split())


def product_row(product_id="p1", name="red scarf", line=1, **problems):
    fields = encode({"name": name, "description": None, "problems": problems})
    kept = {"fingerprint": None, "reason": None, "message": None}
    place = {"path": "shop.jsonl", "line": line, "element": 0, "version": None}
    return {"product_id": product_id, "fields": fields, **place, **kept}


def unreadable_row(mark="bad-line", reason="unreadable"):
    kept = {"product_id": None, "fields": None, "message": "not JSON"}
    return {"fingerprint": mark, "reason": reason, "path": "shop.jsonl", "line": 9, "element": 0, **kept}


def key_of(row, task="classification", context=TERMS):
    return build_question(task, decode(row["fields"]), [], context, words).key


def previous_row(key, status="enriched", product_id="p1", task="classification", has_prediction=True):
    place = {"file": 3, "position": 7, "has_prediction": has_prediction}
    return {"product_id": product_id, "task": task, "key": key, "status": status, **place}


def quarantined_row(reason="truncated", product_id="p1", task="classification", mark="mark", attempts=2):
    place = {"file": 1, "position": 5}
    return {
        "fingerprint": mark,
        "product_id": product_id,
        "task": task,
        "reason": reason,
        "attempts": attempts,
        **place,
    }


def plan(products=(), previous=(), quarantined=(), reviews=(), replay=False, context=TERMS):
    bucket, counts = Bucket(), Counter()
    for row in products:
        bucket.add_product(row)
    for row in previous:
        bucket.previous[row["product_id"], row["task"]] = row
    for row in quarantined:
        bucket.add_quarantined(row)
    for row in reviews:
        bucket.reviews[row["product_id"]].append(row)
    rows = list(plan_bucket(bucket, context, words, replay, counts))
    return {row["task"]: row for row in rows}, counts


def test_new_product_is_asked_and_one_without_reviews_has_nothing_to_summarise():
    rows, counts = plan([product_row()])
    assert (rows["classification"]["status"], rows["classification"]["change"]) == ("ask", "new")
    assert decode(rows["classification"]["fields"]) == {"labels": ["A", "B"], "text": "red scarf"}
    assert rows["summarization"]["status"] == "empty"
    assert not counts


def test_unchanged_row_costs_nothing():
    rows, counts = plan([product_row()], [previous_row(key_of(product_row()))])
    assert "classification" not in rows
    assert counts["classification/unchanged"] == 1


def test_changed_text_supersedes_the_row_where_it_stands():
    rows, _ = plan([product_row(name="blue scarf")], [previous_row(key_of(product_row()))])
    row = rows["classification"]
    assert (row["status"], row["change"], row["old_file"], row["old_position"]) == ("ask", "changed", 3, 7)


@pytest.mark.parametrize(
    "context",
    [
        PromptContext(TERMS.tasks, TERMS.labels, "another model, engine or sampling", 100),
        PromptContext(TERMS.tasks, ("A", "B", "C"), "answers", 100),
    ],
)
def test_whatever_determines_the_answer_asks_again(context):
    rows, _ = plan([product_row()], [previous_row(key_of(product_row()))], context=context)
    assert rows["classification"]["status"] == "ask"


def test_other_labels_leave_other_tasks_alone():
    more = PromptContext(TERMS.tasks, ("A", "B", "C"), "answers", 100)
    key = key_of(product_row(), "summarization")
    rows, counts = plan([product_row()], [previous_row(key, "empty", task="summarization")], context=more)
    assert counts["summarization/unchanged"] == 1
    assert "summarization" not in rows


def test_product_that_left_becomes_a_tombstone_once():
    rows, _ = plan([], [previous_row("k")])
    row = rows["classification"]
    assert (row["status"], row["change"], row["copy_file"], row["copy_position"]) == ("deleted", "deleted", 3, 7)
    assert plan([], [previous_row("k", "deleted")]) == ({}, Counter())


def test_product_that_returns_unchanged_takes_its_prediction_back():
    rows, _ = plan([product_row()], [previous_row(key_of(product_row()), "deleted")])
    row = rows["classification"]
    assert (row["status"], row["change"], row["copy_file"]) == ("enriched", "new", 3)
    assert row["fields"] is None


def test_tombstone_without_a_prediction_is_asked_when_it_returns():
    rows, _ = plan([product_row()], [previous_row(key_of(product_row()), "deleted", has_prediction=False)])
    assert rows["classification"]["status"] == "ask"


def test_quarantined_row_waits_for_replay_and_counts_its_attempts():
    old = previous_row(key_of(product_row()), "quarantined", has_prediction=False)
    rows, counts = plan([product_row()], [old], [quarantined_row()])
    assert "classification" not in rows
    assert (counts["classification/quarantined"], counts["reason/truncated"]) == (1, 1)
    rows, counts = plan([product_row()], [old], [quarantined_row()], replay=True)
    row = rows["classification"]
    assert (row["status"], row["attempts"], row["bad_file"], row["bad_position"]) == ("ask", 3, 1, 5)


def test_engine_trouble_is_tried_again_the_next_night():
    old = previous_row(key_of(product_row()), "quarantined", has_prediction=False)
    rows, _ = plan([product_row()], [old], [quarantined_row("engine")])
    assert rows["classification"]["status"] == "ask"


def test_quarantined_row_without_its_entry_is_tried_again():
    old = previous_row(key_of(product_row()), "quarantined", has_prediction=False)
    rows, _ = plan([product_row()], [old])
    assert rows["classification"]["status"] == "ask"


def test_entry_of_a_row_that_is_well_leaves_the_quarantine():
    rows, counts = plan([product_row()], [previous_row(key_of(product_row()))], [quarantined_row()])
    forgotten = rows["classification"] if "classification" in rows else rows[None]
    assert (forgotten["status"], forgotten["bad_file"], forgotten["bad_position"]) == (None, 1, 5)
    assert counts["classification/unchanged"] == 1


def test_faulty_field_puts_only_the_tasks_that_need_it_into_quarantine():
    rows, _ = plan([product_row(description="wrong_type")])
    assert (rows["classification"]["status"], rows["classification"]["reason"]) == ("quarantined", "wrong_type")
    assert rows["summarization"]["status"] == "empty"


def test_second_row_of_an_id_is_quarantined_and_the_first_stands():
    rows, counts = plan([product_row(line=2, name="second"), product_row(line=1, name="first")])
    assert decode(rows["classification"]["fields"])["text"] == "first"
    assert (rows[None]["status"], rows[None]["reason"], rows[None]["line"]) == ("quarantined", "duplicate_id", 2)
    assert not counts


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_newest_version_of_an_id_wins_whatever_the_order(order):
    rows = [(1, "old", 1.0), (2, "old too", 1.0), (4, "later", 2.0), (3, "newest", 2.0)]
    written = [product_row(line=line, name=name) | {"version": version} for line, name, version in rows]
    bucket = Bucket()
    for place in order:
        bucket.add_product(written[place])
    planned = {row["task"]: row for row in plan_bucket(bucket, TERMS, words, False, Counter())}
    assert decode(planned["classification"]["fields"])["text"] == "newest"
    assert (planned[None]["reason"], planned[None]["line"]) == ("duplicate_id", 4)
    assert (bucket.num_superseded, bucket.num_duplicates) == (2, 1)


def test_unreadable_row_stays_in_quarantine_until_it_is_gone():
    known = quarantined_row("unreadable", product_id=None, task=None, mark="bad-line")
    assert plan([unreadable_row()])[0][None]["status"] == "quarantined"
    rows, counts = plan([unreadable_row()], quarantined=[known])
    assert (rows, counts["/quarantined"]) == ({}, 1)
    rows, counts = plan([], quarantined=[known])
    assert (rows[None]["status"], rows[None]["bad_position"]) == (None, 5)


def test_equal_questions_are_merged_and_known_ones_copied():
    names = zip("abac", "1234", strict=True)
    asked = [{"task": "t", "key": key, "product_id": name, "fields": "{}"} for key, name in names]
    copies, groups = group_equal_questions(asked, {"b": (2, 9)})
    assert [(row["product_id"], row["copy_file"], row["copy_position"]) for row in copies] == [("2", 2, 9)]
    assert [[row["product_id"] for row in group] for group in groups] == [["1", "3"], ["4"]]
