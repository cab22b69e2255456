"""Which questions are the canary, and what is told of their answers."""

import random

import pyarrow as pa
import pytest

from eshop_ray.enrichment.canary import Answered, Candidates, draw
from eshop_ray.enrichment.canary.sample import hash_questions, read_answered, split
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.shards import SHARD_ROWS


def question(key, task="a", clears=False):
    targets = [{"product_id": f"p-{key}", "clears": False}, {"product_id": f"q-{key}", "clears": clears}]
    return {"key": key, "task": task, "targets": targets}


def table(rows):
    return pa.Table.from_pylist(rows, pa.schema([SHARD_ROWS.field(name) for name in ("key", "task", "targets")]))


def choose(parts, num_rows):
    """Keys of the canary, whoever saw which part of the questions."""
    candidates = Candidates(num_rows)
    for rows in parts:
        part = Candidates(num_rows)
        part.add_questions(table(rows))
        for task, hashes in part.hashes.items():
            candidates.add(task, hashes)
    drawn = draw(candidates)
    found = [[half.to_pylist() for half in split(table(rows), drawn)] for rows in parts]
    assert sorted(row["key"] for pair in found for rows in pair for row in rows) == sorted(
        row["key"] for rows in parts for row in rows
    )
    return sorted((row["task"], row["key"]) for canary, _ in found for row in canary)


def test_canary_is_the_same_however_the_questions_are_divided():
    rows = [question(f"k{number}", task) for number in range(200) for task in "ab"]
    whole = choose([rows], 20)
    assert [task for task, _ in whole] == ["a"] * 10 + ["b"] * 10
    random.Random(0).shuffle(rows)
    assert choose([rows[:7], rows[7:300], rows[300:]], 20) == whole


def test_canary_is_of_all_questions_and_not_of_the_first():
    keys = [int(key[1:]) for _, key in choose([[question(f"k{number}") for number in range(10_000)]], 200)]
    assert len(keys) == 200
    assert min(keys) < 500
    assert max(keys) > 9_500
    assert 4_000 < sum(keys) / len(keys) < 6_000


@pytest.mark.parametrize(
    ("questions", "num_rows", "expected"),
    [
        ({"a": 100, "b": 100, "c": 100}, 128, {"a": 42, "b": 43, "c": 43}),
        ({"a": 100, "b": 3, "c": 100}, 128, {"a": 62, "b": 3, "c": 63}),
        ({"a": 5, "b": 3}, 128, {"a": 5, "b": 3}),
        ({"a": 5, "b": 3}, 1, {"a": 1}),
        ({"a": 5}, 0, {}),
        ({}, 128, {}),
    ],
)
def test_tasks_share_it_and_none_leaves_a_part_unused(questions, num_rows, expected):
    chosen = choose(
        [[question(f"{task}{number}", task) for task in questions for number in range(questions[task])]], num_rows
    )
    counted = {task: sum(one == task for one, _ in chosen) for task in questions}
    assert sum(counted.values()) == sum(expected.values())
    assert {task: number for task, number in counted.items() if number}.keys() == expected.keys()
    assert all(abs(counted[task] - number) <= 1 for task, number in expected.items())


def test_what_failed_before_is_no_canary():
    rows = [question(f"k{number}", clears=number < 9) for number in range(10)]
    assert choose([rows], 128) == [("a", "k9")]


def test_equal_questions_are_one():
    candidates = Candidates(2)
    candidates.add_questions(table([question("k"), question("k"), question("l")]))
    assert candidates.hashes["a"] == sorted(hash_questions(pa.chunked_array([["k", "l"]])).tolist())
    assert candidates.hashes["a"] == sorted(bucket_of(key, 1 << 62) for key in "kl")


def test_answer_is_told_without_its_text_where_it_failed():
    targets = [{"product_id": "p1"}, {"product_id": "p2"}]
    good = {"targets": targets, "error": None, "prediction": '"x"', "num_generated_tokens": 3}
    bad = {**good, "error": "truncated: cut off", "prediction": '"half'}
    assert list(read_answered([good, bad])) == [Answered("p1", False, '"x"', 3), Answered("p1", True, None, 3)]
