"""What is asked about a product, and which reviews a summariser sees."""

from dataclasses import replace

import pytest

from eshop_ray.enrichment.questions import (
    build_question,
    identify_question,
    select_reviews,
)
from eshop_ray.enrichment.templates import list_columns
from tests.enrichment.contexts import context_of, templates_of

TASKS = ("ner_tagging", "classification", "summarization")
TERMS = context_of(TASKS, ("A",), "answers", 12)


def words(text):
    return len(text.split())


def review(text, votes=0):
    return {"text": text, "votes": votes}


def ask(task, reviews=(), context=TERMS, **product):
    fields = {"name": None, "description": None, "problems": {}, **product}
    return build_question(context.templates[task], fields, reviews, context, words)


def test_tagging_asks_about_the_words_of_the_name():
    assert ask("ner_tagging", name=" red  scarf ").fields == {"tokens": ["red", "scarf"]}


@pytest.mark.parametrize(
    ("task", "product", "reason"),
    [
        ("ner_tagging", {}, "missing_text"),
        ("ner_tagging", {"name": "  "}, "missing_text"),
        ("ner_tagging", {"problems": {"name": "too_long"}}, "too_long"),
        ("classification", {"name": "x", "problems": {"description": "wrong_type"}}, "wrong_type"),
    ],
)
def test_what_cannot_be_asked_says_why(task, product, reason):
    question = ask(task, **product)
    assert (question.status, question.reason) == ("quarantined", reason)
    assert question.message


def test_product_without_reviews_has_nothing_to_summarise_whatever_is_wrong_with_its_name():
    for product in ({}, {"name": "scarf"}, {"problems": {"name": "too_long"}}):
        question = ask("summarization", **product)
        assert (question.status, question.fields, question.reason) == ("empty", {}, None)


def test_summary_does_without_a_name():
    fields = {"title": "", "reviews": ["warm"]}
    assert ask("summarization", [review("warm")], problems={"name": "too_long"}).fields == fields
    assert ask("summarization", [review("warm")], name="a  b " + 300 * "c").fields["title"] == "a b " + 196 * "c"


@pytest.mark.parametrize(
    ("context", "changed"),
    [
        (replace(TERMS, answers="of another model"), {"ner_tagging", "classification", "summarization"}),
        (context_of(TASKS, ("A", "B"), "answers", 12), {"classification"}),
        (replace(TERMS, max_review_tokens=13), {"summarization"}),
        (context_of(TASKS[::-1], ("A",), "answers", 12), set()),
    ],
)
def test_question_depends_on_what_its_task_is_given(context, changed):
    before, after = (
        {name: identify_question(one, terms) for name, one in terms.templates.items()} for terms in (TERMS, context)
    )
    assert len(set(before.values())) == 3
    assert {task for task in TASKS if after[task] != before[task]} == changed


@pytest.mark.parametrize("task", ["ner_tagging", "classification", "summarization"])
def test_question_depends_on_its_prompt(monkeypatch, task):
    template = TERMS.templates[task]
    before = identify_question(template, TERMS)
    monkeypatch.setattr("eshop_ray.enrichment.questions.identify_task", lambda task: f"another prompt of {task.name}")
    assert identify_question(template, TERMS) != before


def test_most_helpful_reviews_come_first_within_the_budget():
    reviews = [review("one two three four five six", 1), review("a b", 9), review("c d e f", 5), review("x", 0)]
    assert select_reviews(reviews, 16, words) == ["a b", "c d e f", "x"]


def test_equal_reviews_count_once_and_order_does_not_matter():
    reviews = [review("b"), review("a"), review("b")]
    assert select_reviews(reviews, 100, words) == select_reviews(reviews[::-1], 100, words) == ["a", "b"]


def test_review_longer_than_the_budget_is_cut_at_a_word():
    assert select_reviews([review("a b c d e f g h i j k l m n o p q r s t")], 10, words) == ["a b c d e f g"]


def test_columns_are_those_that_the_tasks_read():
    assert list_columns(templates_of(["summarization"])) == ("name", "category")
    assert list_columns(templates_of(["ner_tagging", "classification"])) == ("name", "description", "category")
