"""What a night decides about each product's task, from columns in SQL to rows of work."""

from collections import Counter
from dataclasses import replace

import pytest

from eshop_ray.artifacts import fingerprint
from eshop_ray.enrichment.plan import plan_bucket
from eshop_ray.enrichment.questions import OUTPUT_VERSION
from eshop_ray.inference.answer_identity import identify_task
from eshop_ray.schema import content_id, decode
from eshop_ray.tasks import get_task
from tests.enrichment.contexts import context_of
from tests.enrichment.test_compare_bucket import find_changes, previous_row, product_row, quarantined_row, review_row

TERMS = context_of(("classification", "summarization"), ("A", "B"), "answers", 100)


MARK = content_id("row", "p1", "classification")
"""Of an entry of the quarantine: of a product's task."""


def words(text):
    return len(text.split())


def unreadable_row(mark="bad-line", reason="unreadable"):
    place = {"file": 0, "line": 9, "element": 0}
    return {"product_id": None, "fingerprint": mark, "reason": reason, "message": "not JSON", **place}


def key_of(row, task="classification", context=TERMS, reviews=()):
    return find_changes([row], reviews=reviews, context=context).keys[row["product_id"]][task]


def former_key_of(task="classification", **seen):
    """The key of a row that was written before keys were made by columns: of the record's fields, or of trouble."""
    fields = seen or {"labels": ["A", "B"], "text": "red scarf"}
    return fingerprint([identify_task(get_task(task)), OUTPUT_VERSION, "answers", fields])


def forgotten(row, product_id="p1"):
    """The fingerprint of an entry that leaves the quarantine and has nothing else to it."""
    told = {name: value for name, value in row.items() if value is not None}
    named = {"product_id": product_id} if product_id else {}
    assert told == {**named, "fingerprint": row["fingerprint"], "replaces": False, "clears": True}
    return row["fingerprint"]


WATCHED = ("live", "left", "moved", "trouble")
"""Counts that only tell whether a night does too much."""


def plan_all(products=(), previous=(), quarantined=(), reviews=(), replay=False, context=TERMS, holds_missing=False):
    bucket, counts = find_changes(products, previous, quarantined, reviews, context), Counter()
    rows = list(plan_bucket(bucket, context, words, replay, counts, holds_missing))
    counts.update(num_superseded=bucket.num_superseded, num_duplicates=bucket.num_duplicates)
    return rows, +counts


def plan(*products, **known):
    """Task -> what is to be done, and what was counted."""
    rows, counts = plan_all(products, **known)
    assert len({row["task"] for row in rows}) == len(rows)
    return {row["task"]: row for row in rows}, unwatched(counts)


def unwatched(counts):
    return {name: count for name, count in counts.items() if name.partition("/")[0] not in WATCHED}


def test_new_product_is_asked_and_one_without_reviews_has_nothing_to_summarise():
    rows, counts = plan(product_row())
    assert (rows["classification"]["status"], rows["classification"]["change"]) == ("ask", "new")
    assert decode(rows["classification"]["fields"]) == {"labels": ["A", "B"], "text": "red scarf"}
    assert (rows["summarization"]["status"], rows["summarization"]["change"]) == ("empty", "new")
    assert not counts


def test_reviews_are_summarised_the_most_helpful_first():
    reviews = [review_row("good"), review_row("warm", 9), review_row("good", 1), review_row("bad", 5, "p2")]
    rows, _ = plan(product_row(), reviews=reviews)
    assert decode(rows["summarization"]["fields"]) == {"title": "red scarf", "reviews": ["warm", "good"]}


def test_unchanged_row_costs_nothing():
    rows, counts = plan(product_row(), previous=[previous_row(key_of(product_row()))])
    assert "classification" not in rows
    assert counts == {"classification/unchanged": 1}


def test_changed_text_takes_the_place_of_its_row():
    rows, _ = plan(product_row(name="blue scarf"), previous=[previous_row(key_of(product_row()))])
    row = rows["classification"]
    assert (row["status"], row["change"], row["replaces"], row["clears"]) == ("ask", "changed", True, False)
    assert (row["key"], row["copy_file"]) == (key_of(product_row(name="blue scarf")), None)


def test_change_of_one_task_leaves_the_others_alone():
    reviews = [review_row("good")]
    tasks = ("classification", "summarization")
    previous = [previous_row(key_of(product_row(), task, reviews=reviews), task=task) for task in tasks]
    rows, counts = plan(product_row(), previous=previous, reviews=[*reviews, review_row("bad")])
    assert (rows.keys(), counts) == ({"summarization"}, {"classification/unchanged": 1})
    rows, counts = plan(product_row(description="warm"), previous=previous, reviews=reviews)
    assert (rows.keys(), counts) == ({"classification"}, {"summarization/unchanged": 1})


@pytest.mark.parametrize(
    "context",
    [
        context_of(TERMS.tasks, ("A", "B"), "another model, engine or sampling", 100),
        context_of(TERMS.tasks, ("A", "B", "C"), "answers", 100),
    ],
)
def test_whatever_determines_the_answer_asks_again(context):
    rows, _ = plan(product_row(), previous=[previous_row(key_of(product_row()))], context=context)
    assert (rows["classification"]["status"], rows["classification"]["change"]) == ("ask", "changed")


def test_other_labels_leave_other_tasks_alone():
    more = context_of(TERMS.tasks, ("A", "B", "C"), "answers", 100)
    key = key_of(product_row(), "summarization")
    rows, counts = plan(
        product_row(), previous=[previous_row(key, "empty", task="summarization", prediction_key=None)], context=more
    )
    assert counts["summarization/unchanged"] == 1
    assert "summarization" not in rows


def test_product_that_lost_its_reviews_has_nothing_to_summarise_any_more():
    key = key_of(product_row(), "summarization", reviews=[review_row("good")])
    rows, _ = plan(product_row(), previous=[previous_row(key, task="summarization")])
    assert (rows["summarization"]["status"], rows["summarization"]["change"]) == ("empty", "changed")
    assert (rows["summarization"]["replaces"], rows["summarization"]["copy_file"]) == (True, None)


def test_product_that_left_becomes_a_tombstone_once():
    rows, counts = plan(previous=[previous_row("k")])
    row = rows["classification"]
    assert (row["status"], row["change"], row["copy_file"], row["copy_position"]) == ("deleted", "deleted", 3, 7)
    assert (row["key"], row["replaces"], row["clears"], counts) == ("k", True, False, {})
    assert plan(previous=[previous_row("k", "deleted")]) == ({}, {})


def test_product_that_left_takes_its_entry_out_of_the_quarantine():
    rows, _ = plan(previous=[previous_row("k", "quarantined", prediction_key=None)], quarantined=[quarantined_row()])
    row = rows["classification"]
    assert (row["status"], row["clears"], row["fingerprint"]) == ("deleted", True, MARK)
    for previous in ([], [previous_row("k", "deleted")]):
        rows, counts = plan_all(previous=previous, quarantined=[quarantined_row()])
        assert (list(map(forgotten, rows)), unwatched(counts)) == ([MARK], {})


def test_product_that_returns_unchanged_takes_its_prediction_back():
    rows, _ = plan(product_row(), previous=[previous_row(key_of(product_row()), "deleted")])
    row = rows["classification"]
    assert (row["status"], row["change"], row["copy_file"], row["copy_position"]) == ("enriched", "new", 3, 7)
    assert (row["fields"], row["replaces"]) == (None, True)


def test_product_that_returns_changed_is_asked():
    rows, _ = plan(product_row(name="blue"), previous=[previous_row(key_of(product_row()), "deleted")])
    row = rows["classification"]
    assert (row["status"], row["change"], row["copy_file"], row["replaces"]) == ("ask", "new", None, True)


def test_tombstone_without_a_prediction_is_asked_when_it_returns():
    rows, _ = plan(product_row(), previous=[previous_row(key_of(product_row()), "deleted", prediction_key=None)])
    assert rows["classification"]["status"] == "ask"


def test_tombstone_with_the_answer_to_another_question_is_asked_when_it_returns():
    rows, _ = plan(product_row(), previous=[previous_row(key_of(product_row()), "deleted", prediction_key="former")])
    assert (rows["classification"]["status"], rows["classification"]["copy_file"]) == ("ask", None)


def test_row_in_trouble_takes_the_prediction_that_it_kept_once_its_text_is_what_it_was():
    in_trouble = key_of(product_row(name="blue")), "quarantined"
    known = {
        "previous": [previous_row(*in_trouble, prediction_key=key_of(product_row()))],
        "quarantined": [quarantined_row()],
    }
    row = plan(product_row(), **known)[0]["classification"]
    assert (row["status"], row["change"], row["copy_file"], row["copy_position"]) == ("enriched", "changed", 3, 7)
    assert (row["key"], row["replaces"], row["clears"], row["fingerprint"]) == (key_of(product_row()), True, True, MARK)
    rows, counts = plan(product_row(name="blue"), **known)
    assert "classification" not in rows
    assert counts["classification/quarantined"] == 1
    row = plan(product_row(name="blue"), **known, replay=True)[0]["classification"]
    assert (row["status"], row["copy_file"]) == ("ask", None)


def test_quarantined_row_waits_for_replay_and_counts_its_attempts():
    old = previous_row(key_of(product_row()), "quarantined", prediction_key=None)
    rows, counts = plan(product_row(), previous=[old], quarantined=[quarantined_row()])
    assert "classification" not in rows
    assert counts == {"classification/quarantined": 1, "reason/truncated": 1}
    rows, counts = plan(product_row(), previous=[old], quarantined=[quarantined_row()], replay=True)
    row = rows["classification"]
    assert (row["status"], row["attempts"], row["clears"], row["fingerprint"]) == ("ask", 3, True, MARK)
    assert not counts


def test_quarantined_row_of_another_text_is_asked_and_its_attempts_begin_anew():
    old = previous_row(key_of(product_row()), "quarantined", prediction_key=None)
    rows, _ = plan(product_row(name="blue"), previous=[old], quarantined=[quarantined_row()])
    row = rows["classification"]
    assert (row["status"], row["attempts"], row["clears"], row["replaces"]) == ("ask", 1, True, True)


def test_engine_trouble_is_tried_again_the_next_night():
    old = previous_row(key_of(product_row()), "quarantined", prediction_key=None)
    rows, _ = plan(product_row(), previous=[old], quarantined=[quarantined_row("engine")])
    assert rows["classification"]["status"] == "ask"


def test_quarantined_row_without_its_entry_is_tried_again():
    old = previous_row(key_of(product_row()), "quarantined", prediction_key=None)
    rows, _ = plan(product_row(), previous=[old])
    assert rows["classification"]["status"] == "ask"


def test_entry_of_a_row_that_is_well_leaves_the_quarantine():
    rows, counts = plan(product_row(), previous=[previous_row(key_of(product_row()))], quarantined=[quarantined_row()])
    assert forgotten(rows[None]) == MARK
    assert counts["classification/unchanged"] == 1


@pytest.mark.parametrize("products", [[product_row()], []], ids=["there", "gone"])
@pytest.mark.parametrize("status", ["enriched", "quarantined"])
def test_rows_of_a_task_that_is_asked_no_longer_become_tombstones_and_leave_the_quarantine(products, status):
    old = previous_row("k", status, task="ner_tagging")
    rows, _ = plan_all(products, previous=[old], quarantined=[quarantined_row(task="ner_tagging")], holds_missing=True)
    (row,) = [row for row in rows if row["task"] not in TERMS.tasks]
    assert (row["task"], row["status"], row["copy_file"], row["replaces"]) == ("ner_tagging", "deleted", 3, True)
    assert (row["clears"], row["fingerprint"]) == (True, content_id("row", "p1", "ner_tagging"))


def test_entry_of_a_task_that_is_asked_no_longer_leaves_the_quarantine():
    entry = quarantined_row(task="ner_tagging")
    rows, _ = plan_all([product_row()], [previous_row("k", "deleted", task="ner_tagging")], [entry])
    assert [forgotten(row) for row in rows if row["clears"]] == [entry["fingerprint"]]


def test_product_that_may_stand_on_a_line_that_cannot_be_read_is_held():
    known = {"previous": [previous_row("k", "quarantined")], "quarantined": [quarantined_row()]}
    rows, counts = plan(unreadable_row(), **known, holds_missing=True)
    assert (rows.keys(), counts) == ({None}, {"num_held": 1})
    assert (rows[None]["status"], rows[None]["fingerprint"]) == ("quarantined", "bad-line")
    assert plan(previous=[previous_row("k", "deleted")], holds_missing=True) == ({}, {})


def test_what_a_night_would_do_too_much_of_is_counted():
    key = key_of(product_row())
    context = replace(TERMS, model_digest="today")
    rows = [
        *(previous_row(key, model_digest="today"), previous_row("k", product_id="left", model_digest="today")),
        previous_row("k", product_id="moved", model_digest="today"),
        previous_row("k", product_id="other-model", model_digest="before"),
        *(previous_row("k", "quarantined", "never-answered"), previous_row("k", "deleted", "returns")),
        previous_row("k", product_id="left", task="ner_tagging"),
    ]
    here = ["p1", "moved", "other-model", "never-answered", "returns", "new"]
    products = [product_row(product_id, line=line) for line, product_id in enumerate(here)]
    products.append(product_row("bad", problems={"description": "wrong_type"}, line=9))
    counts = plan_all(products, rows, context=context)[1]
    watched = {name: count for name, count in counts.items() if name.partition("/")[0] in WATCHED}
    assert watched == {
        "live/classification": 5,
        "live/ner_tagging": 1,
        "left/classification": 1,
        "moved/classification": 2,
        "trouble/classification": 1,
    }


def test_faulty_field_puts_only_the_tasks_that_need_it_into_quarantine():
    rows, _ = plan(product_row(problems={"description": "wrong_type"}))
    assert (rows["classification"]["status"], rows["classification"]["reason"]) == ("quarantined", "wrong_type")
    assert rows["summarization"]["status"] == "empty"


def test_faulty_field_stays_in_quarantine_until_it_is_mended():
    broken = product_row(problems={"description": "wrong_type"})
    known = {
        "previous": [previous_row(key_of(broken), "quarantined", prediction_key=None)],
        "quarantined": [quarantined_row("wrong_type")],
        "replay": True,
    }
    rows, counts = plan(broken, **known)
    assert "classification" not in rows
    assert counts == {"classification/quarantined": 1, "reason/wrong_type": 1}
    row = plan(product_row(problems={"description": "too_long"}), **known)[0]["classification"]
    assert (row["status"], row["reason"], row["attempts"], row["clears"]) == ("quarantined", "too_long", 1, True)
    assert plan(product_row(description="warm"), **known)[0]["classification"]["status"] == "ask"


def test_trouble_in_a_column_that_a_task_can_do_without_is_none_for_it():
    rows, _ = plan(product_row(name=None, problems={"name": "too_long"}), reviews=[review_row("good")])
    assert rows["classification"]["reason"] == "too_long"
    assert decode(rows["summarization"]["fields"]) == {"title": "", "reviews": ["good"]}


def test_second_row_of_an_id_is_quarantined_and_the_first_stands():
    rows, counts = plan(product_row(line=2, name="second"), product_row(line=1, name="first"))
    assert decode(rows["classification"]["fields"])["text"] == "first"
    assert (rows[None]["status"], rows[None]["reason"], rows[None]["line"]) == ("quarantined", "duplicate_id", 2)
    assert rows[None]["message"] == "the id stands in a.jsonl:1 already"
    assert counts == {"num_duplicates": 1}


def test_first_of_an_ids_rows_that_is_unchanged_costs_nothing_and_the_second_stays_in_quarantine():
    twice = [product_row(line=line, name=name) for line, name in ((1, "first"), (2, "second"))]
    bad = plan(*twice)[0][None]
    entry = quarantined_row("duplicate_id", product_id="p1", task=None, mark=bad["fingerprint"])
    rows, counts = plan(*twice, previous=[previous_row(key_of(twice[0]))], quarantined=[entry])
    assert rows.keys() == {"summarization"}
    assert counts["classification/unchanged"] == counts["/quarantined"] == counts["reason/duplicate_id"] == 1


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_newest_version_of_an_id_wins_whatever_the_order(order):
    rows = [(1, "old", 1.0), (2, "old too", 1.0), (4, "later", 2.0), (3, "newest", 2.0)]
    written = [product_row(line=line, name=name, version=version) for line, name, version in rows]
    planned, counts = plan(*(written[place] for place in order))
    assert decode(planned["classification"]["fields"])["text"] == "newest"
    assert (planned[None]["reason"], planned[None]["line"]) == ("duplicate_id", 4)
    assert counts == {"num_superseded": 2, "num_duplicates": 1}


def test_unreadable_row_stays_in_quarantine_until_it_is_gone():
    known = quarantined_row("unreadable", product_id=None, task=None, mark="bad-line")
    row = plan(unreadable_row())[0][None]
    assert (row["status"], row["path"], row["line"], row["message"]) == ("quarantined", "a.jsonl", 9, "not JSON")
    rows, counts = plan(unreadable_row(), quarantined=[known])
    assert (rows, counts) == ({}, {"/quarantined": 1, "reason/unreadable": 1})
    rows, counts = plan(quarantined=[known])
    assert forgotten(rows[None], product_id=None) == "bad-line"


def test_unreadable_row_with_another_reason_takes_the_place_of_its_entry():
    known = quarantined_row("unreadable", product_id=None, task=None, mark="bad-line")
    row = plan(unreadable_row(reason="missing_id"), quarantined=[known])[0][None]
    assert (row["status"], row["reason"], row["attempts"], row["clears"]) == ("quarantined", "missing_id", 1, True)


REVIEWS = [review_row("good", 2.0), review_row("warm")]
SUMMARY = {"title": "red scarf", "reviews": ["good", "warm"]}


@pytest.mark.parametrize(("task", "seen", "reviews"), [("classification", {}, []), ("summarization", SUMMARY, REVIEWS)])
def test_row_with_a_former_key_takes_todays_and_keeps_its_prediction(task, seen, reviews):
    old = previous_row(former_key_of(task, **seen), task=task)
    rows, counts = plan(product_row(), previous=[old], reviews=reviews)
    row = rows[task]
    assert (row["status"], row["change"], row["fields"]) == ("enriched", "unchanged", None)
    assert (row["replaces"], row["copy_file"], row["copy_position"]) == (True, 3, 7)
    assert row["key"] == key_of(product_row(), task, reviews=reviews)
    assert not counts
    again = previous_row(row["key"], task=task)
    assert plan(product_row(), previous=[again], reviews=reviews)[1] == {f"{task}/unchanged": 1}


def test_row_with_a_former_key_and_nothing_to_ask_takes_todays():
    former_key = fingerprint([identify_task(get_task("summarization")), OUTPUT_VERSION, "answers", {}])
    old = previous_row(former_key, "empty", task="summarization", prediction_key=None)
    row = plan(product_row(), previous=[old])[0]["summarization"]
    assert (row["status"], row["change"], row["replaces"], row["copy_file"]) == ("empty", "unchanged", True, None)


def test_former_key_of_another_text_is_asked_again():
    row = plan(product_row(name="blue scarf"), previous=[previous_row(former_key_of())])[0]["classification"]
    assert (row["status"], row["change"], row["replaces"], row["copy_file"]) == ("ask", "changed", True, None)


def test_entry_of_a_row_that_is_well_by_its_former_key_leaves_the_quarantine():
    known = {"previous": [previous_row(former_key_of())], "quarantined": [quarantined_row()]}
    row = plan(product_row(), **known)[0]["classification"]
    assert (row["status"], row["change"], row["clears"], row["fingerprint"]) == ("enriched", "unchanged", True, MARK)


@pytest.mark.parametrize(
    ("prediction_key", "status"), [(former_key_of(), "enriched"), (None, "ask")], ids=["answered", "not answered"]
)
def test_tombstone_with_a_former_key_returns_as_one_with_todays(prediction_key, status):
    old = previous_row(former_key_of(), "deleted", prediction_key=prediction_key)
    row = plan(product_row(), previous=[old])[0]["classification"]
    assert (row["status"], row["change"], row["replaces"]) == (status, "new", True)
    assert row["copy_file"] == (3 if prediction_key else None)
    assert row["key"] == key_of(product_row())


def test_quarantined_row_with_a_former_key_waits_as_one_with_todays():
    old = previous_row(former_key_of(), "quarantined", prediction_key=None)
    known = {"previous": [old], "quarantined": [quarantined_row()]}
    rows, counts = plan(product_row(), **known)
    assert "classification" not in rows
    assert counts == {"classification/quarantined": 1, "reason/truncated": 1}
    row = plan(product_row(), **known, replay=True)[0]["classification"]
    assert (row["status"], row["change"], row["attempts"], row["clears"]) == ("ask", "changed", 3, True)
    row = plan(product_row(), previous=[old], quarantined=[quarantined_row("engine")])[0]["classification"]
    assert (row["status"], row["attempts"]) == ("ask", 3)


def test_faulty_field_with_a_former_key_stays_in_quarantine():
    problems = {"description": "wrong_type"}
    former_key = former_key_of(reason="wrong_type", name="red scarf", description=None, problems=problems)
    old = previous_row(former_key, "quarantined", prediction_key=None)
    rows, counts = plan(
        product_row(problems=problems), previous=[old], quarantined=[quarantined_row("wrong_type")], replay=True
    )
    assert "classification" not in rows
    assert counts["classification/quarantined"] == 1


def test_product_that_left_keeps_its_former_key():
    assert plan(previous=[previous_row(former_key_of())])[0]["classification"]["key"] == former_key_of()
