"""What is asked about a product, and which reviews a summariser sees."""

import pytest

from eshop_ray.enrichment.questions import PromptContext, build_question, list_columns, select_reviews
from eshop_ray.errors import UserError

TERMS = PromptContext(("ner_tagging",), ("A",), "answers", 12)


def words(text):
    return len(text.split())


def review(text, votes=0):
    return {"text": text, "votes": votes}


def ask(task, reviews=(), context=TERMS, **product):
    fields = {"name": None, "description": None, "problems": {}, **product}
    return build_question(task, fields, reviews, context, words)


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


def test_key_follows_what_the_prompt_uses_and_nothing_else():
    key = ask("ner_tagging", name="red scarf").key
    assert ask("ner_tagging", name="red  scarf", description="new").key == key
    assert ask("ner_tagging", name="red hat").key != key


def test_summary_key_ignores_reviews_that_the_budget_leaves_out():
    shown = [review("good scarf keeps me warm all the long winter", 5)]
    key = ask("summarization", shown).key
    assert ask("summarization", [*shown, review("meh, it is a scarf and no more than that", 1)]).key == key


def test_most_helpful_reviews_come_first_within_the_budget():
    reviews = [review("one two three four five six", 1), review("a b", 9), review("c d e f", 5), review("x", 0)]
    assert select_reviews(reviews, 16, words) == ["a b", "c d e f", "x"]


def test_equal_reviews_count_once_and_order_does_not_matter():
    reviews = [review("b"), review("a"), review("b")]
    assert select_reviews(reviews, 100, words) == select_reviews(reviews[::-1], 100, words) == ["a", "b"]


def test_review_longer_than_the_budget_is_cut_at_a_word():
    assert select_reviews([review("a b c d e f g h i j k l m n o p q r s t")], 10, words) == ["a b c d e f g"]


def test_no_label_to_choose_from_is_said():
    context = PromptContext(("classification",), (), "answers", 10)
    assert ask("classification", context=context, name="x").reason == "no_labels"


def test_columns_are_those_that_the_tasks_read():
    assert list_columns(["summarization"]) == ("name", "category")
    assert list_columns(["ner_tagging", "classification"]) == ("name", "description", "category")


def test_task_that_reads_nothing_of_a_product_is_refused_with_those_that_do():
    with pytest.raises(UserError, match=r"`ranking` does not say .* choose from classification, ner_tagging, summ"):
        list_columns(["ranking"])
