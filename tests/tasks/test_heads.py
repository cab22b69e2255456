"""What a task says to a model that does not write, and that its own parser and metric read what such a model says."""

import pytest

from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.tasks.heads import NoLabelError, Question, find_runs, list_offered, read_options
from eshop_ray.tasks.metrics import get_metric

WRITTEN = {"attributes", "generation", "summarization"}
"""Tasks whose answers have to be written."""

EXAMPLES = [
    pytest.param(name, record, id=f"{name}-{number}")
    for name in list_tasks()
    for number, record in enumerate(get_task(name).examples)
    if get_task(name).heads
]


def find_head(name, record):
    task = get_task(name)
    message = task.build_messages(record)[-1]["content"]
    return next((head, question) for head in task.heads if (question := head.read(message)))


@pytest.mark.parametrize(("name", "record"), EXAMPLES)
def test_what_is_to_be_learned_is_an_answer_of_full_score(name, record):
    task = get_task(name)
    head, question = find_head(name, record)
    said = head.to_labels(record["target"], question)
    answer = task.format_target(head.to_target(said, question))
    metric = get_metric(record.get("metric", task.metric))
    assert metric.score_rows([record["target"]], [task.parse(answer)]) == [1.0]


def test_tasks_without_a_head_are_those_that_are_written():
    assert {name for name in list_tasks() if not get_task(name).heads} == WRITTEN


@pytest.mark.parametrize(
    ("message", "text", "candidates", "first"),
    [
        ("Which?\n0. a b\n1. c\nAnswer: ", "Which?", ("a b", "c"), 0),
        (
            "Shoes.\nProducts: 0. Size 10/0 boot\n1. 2.5 m rope\nOutput:",
            "Shoes. Products:",
            ("Size 10/0 boot", "2.5 m rope"),
            0,
        ),
        ("Rank: 1. mug 2. cup 3. tree. Query: mug", "Rank: Query: mug", ("mug", "cup", "tree"), 1),
        ("2. of\n1. x\n2. y", "2. of", ("x", "y"), 1),
        ("Q 1. not one\n0. x\n1. y\n2. z", "Q 1. not one", ("x", "y", "z"), 0),
    ],
)
def test_options_of_a_question(message, text, candidates, first):
    assert read_options(message) == Question(text, candidates=candidates, first=first)


@pytest.mark.parametrize("message", ["", "Rate it from 1 to 5: 5.0 stars", "1. alone", "7. x\n8. y"])
def test_question_without_options(message):
    assert read_options(message) is None


def test_what_a_graded_text_numbers_is_no_option():
    message = "Evaluate the review on a scale of 1 to 5. \nInput: 1. It leaks.\n2. It smells.\nOutput:"
    assert [head.kind for head in get_task("multiple_choice").heads if head.read(message)] == ["label"]


def test_grade_is_a_label_and_a_choice_is_a_candidate():
    kinds = [find_head("multiple_choice", record)[0].kind for record in get_task("multiple_choice").examples]
    assert kinds == ["candidates", "candidates", "label"]


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("ner_tagging", {"tokens": ["a", "b"], "target": {"tokens": ["a", "b"], "tags": ["O"]}}, "1 tags for 2 words"),
        ("ner", {"text": "red mug", "entity_type": "blue", "target": ["blue"]}, "no entity of the target"),
        ("ner", {"text": "red mug", "entity_type": "color", "target": ["red", "blue"]}, "not all of them"),
        ("ner", {"text": "card x8gby", "entity_type": "size", "target": ["8gb"]}, "no entity of the target"),
        ("ranking", {"query": "q", "options": ["a", "b"], "target": [1]}, "1 weights for 2 options"),
        ("ranking", {"query": "q", "options": ["a", "b"], "target": [0, 0]}, "no option is relevant"),
        ("retrieval", {"query": "q", "options": ["a", "b"], "target": [2]}, "none of the question's options"),
    ],
)
def test_target_that_does_not_fit_its_question(name, record, message):
    head, question = find_head(name, record)
    with pytest.raises(NoLabelError, match=message):
        head.to_labels(record["target"], question)


def test_entity_is_found_in_the_text_and_not_in_the_question():
    record = {"text": "size 9 shoe, size L", "entity_type": "size", "target": ["size"]}
    head, question = find_head("ner", record)
    tags = head.to_labels(record["target"], question)
    assert [question.words[first][0] for first, _, _ in find_runs(tags)] == [19]


def test_entity_is_a_word_before_it_is_a_part_of_one():
    record = {"text": "pet carpet cleaner in 8gb, x8gby", "entity_type": "any", "target": ["pet", "8gb"]}
    head, question = find_head("ner", record)
    tags = head.to_labels(record["target"], question)
    assert head.to_target(tags, question) == ["pet", "8gb"]


def test_spans_end_where_the_type_changes():
    assert list(find_runs(["I-a", "I-b", "I-b", "O", "B-a", "B-a"])) == [
        (0, 1, "a"),
        (1, 3, "b"),
        (4, 5, "a"),
        (5, 6, "a"),
    ]


def test_labels_that_a_question_offers():
    known = ["Garden", "Home, Kitchen", "Kitchen"]
    assert list_offered(known, "Garden, Kitchen") == [0, 2]
    assert list_offered(known, None) == [0, 1, 2]
    assert list_offered(known, "Gardens") == []
