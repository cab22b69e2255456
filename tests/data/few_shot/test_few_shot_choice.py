"""Which training rows a question gets: by lot, by answer, by likeness, and never one that gives the answer away."""

from collections import Counter

import numpy as np
import pytest

from eshop_ray.data.few_shot.candidates import Barred, Questions, group_rows
from eshop_ray.data.few_shot.choice import draw_balanced, draw_random, has_labels, take_first, take_nearest
from eshop_ray.schema import encode
from eshop_ray.tasks import get_task


def rows(texts, targets=None, owners=None):
    targets = targets or [0] * len(texts)
    return Questions([f"id of {text}" for text in texts], list(texts), targets, owners or [None] * len(texts))


POOL = rows(["a", "b", "c", "d", "e", "f", "g", "h"], ["x", "x", "x", "x", "x", "y", "y", "z"])


def test_lots_depend_on_seed_and_ids_alone():
    order = draw_random(POOL, seed=3)
    assert sorted(order) == list(range(8))
    assert order != draw_random(POOL, seed=4)
    fewer = rows(POOL.texts[:5])
    assert [place for place in order if place < 5] == draw_random(fewer, seed=3)


@pytest.mark.parametrize("num_examples", range(1, 9))
def test_each_answer_comes_as_often_as_the_others(num_examples):
    labels = Counter(POOL.targets[place] for place in draw_balanced(POOL, seed=0)[:num_examples])
    whole = Counter(POOL.targets)
    least = min(labels[label] for label in whole if labels[label] < whole[label]) if num_examples < 8 else None
    assert least is None or max(labels.values()) - least <= 1
    assert len(labels) == min(num_examples, 3)


def test_answers_that_hardly_repeat_are_no_labels():
    assert has_labels(POOL)
    assert not has_labels(rows(["a", "b", "c"], ["one", "two", "three"]))


def test_a_question_never_gets_itself_or_a_row_of_its_own_query():
    pool = rows(["Red, scarf!", "blue scarf", "tent", "mug"], owners=["q1", "q2", "q1", None])
    questions = rows(["red  scarf", "something else"], owners=["q1", None])
    chosen, passed = take_first([0, 1, 2, 3], questions, Barred.of(pool), num_examples=2)
    assert chosen == [[1, 3], [0, 1]]
    assert passed == {"identical": 1, "same_cluster": 1}


def test_texts_of_punctuation_alone_are_told_apart():
    pool = rows(["?!", "..."])
    assert take_first([0, 1], rows(["?!"]), Barred.of(pool), 2)[0] == [[1]]


def unit(number, dimensions=16):
    vectors = np.random.default_rng(number).normal(size=(number, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("block_bytes", [1, 500, 1 << 20])
def test_the_nearest_rows_come_in_any_size_of_block_the_most_similar_last(block_bytes):
    asked, known = unit(30), unit(50)
    questions, pool = rows([f"q{n}" for n in range(30)]), rows([f"p{n}" for n in range(50)])
    chosen, passed = take_nearest(questions, asked, known, Barred.of(pool), 4, block_bytes)
    expected = np.argsort(asked @ known.T, axis=1)[:, -4:]
    assert chosen == expected.tolist()
    assert not +passed


def test_nearest_rows_that_give_the_answer_away_are_passed_over_and_counted():
    known = unit(6)
    pool = rows(["same", "b", "c", "d", "e", "f"], owners=[None, "mug", None, None, None, "mug"])
    question = rows(["Same"], owners=["mug"])
    cosines = known @ known[0]
    chosen, passed = take_nearest(question, known[:1], known, Barred.of(pool), 2)
    allowed = [place for place in np.argsort(cosines) if place in (2, 3, 4)]
    assert chosen == [allowed[-2:]]
    nearer = sum(cosines[place] >= cosines[chosen[0][0]] for place in (1, 5))
    assert passed == {"identical": 1, "same_cluster": nearer}


def test_a_small_pool_gives_what_it_has():
    pool = rows(["a", "b"])
    assert take_nearest(rows(["A"]), unit(1), unit(2), Barred.of(pool), 5)[0] == [[1]]
    assert take_nearest(rows(["q"]), unit(1), np.empty((0, 0), np.float32), Barred.of(rows([])), 5)[0] == [[]]
    assert take_first([], rows(["q"]), Barred.of(rows([])), 5)[0] == [[]]


def test_rows_are_grouped_and_those_without_a_prompt_left_out():
    records = [
        {"id": "1", "group": "quiz", "target": encode("Toys"), "fields": encode({"text": "kite", "labels": ["Toys"]})},
        {"id": "2", "group": None, "target": encode("Toys"), "fields": encode({"text": "ball", "labels": ["Toys"]})},
        {"id": "3", "group": None, "target": encode("Toys"), "fields": encode({})},
    ]
    groups = group_rows(records, get_task("classification"), {("classification", "2"): "ball"})
    assert {name: group.ids for name, group in groups.items()} == {"quiz": ["1"], "classification": ["2"]}
    assert groups["classification"].owners == ["ball"]
    assert groups["quiz"].targets == ["Toys"]


@pytest.mark.slow  # the blocks of the test above, as wide as they come
def test_many_rows_are_compared_in_bounded_memory():
    resource = pytest.importorskip("resource")
    asked, known = unit(2000, 384), unit(65_000, 384)
    questions, pool = rows([str(n) for n in range(2000)]), rows([f"p{n}" for n in range(65_000)])
    barred = Barred.of(pool)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chosen, _ = take_nearest(questions, asked, known, barred, 8)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 250 << 10  # KiB; the whole matrix takes 520 MB
    for number in (0, 1999):
        assert chosen[number] == np.argsort(asked[number] @ known.T)[-8:].tolist()
