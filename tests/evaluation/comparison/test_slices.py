"""By what the rows of a group are divided."""

import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation.comparison.slices import SliceBook
from eshop_ray.schema import encode


def make_rows(*targets, times=10):
    return [{"target": encode(target)} for target in targets * times]


def find_slices(rows, named=None, batch=7):
    """Divide rows that come in batches."""
    book = SliceBook(named or {})
    defaults = {"task": "a", "group": "b", "target": "[]", "messages": [], "num_input_tokens": None, "fields": None}
    rows = [{"id": str(number), **defaults, **row} for number, row in enumerate(rows)]
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        book.add({name: [row[name] for row in part] for name in part[0]})
    return book.close()


def test_entities_divide_rows_by_the_types_that_they_hold():
    first = {"tokens": ["red", "wool", "scarf"], "tags": ["B-color", "B-material", "O"]}
    second = {"tokens": ["red", "scarf"], "tags": ["B-color", "O"]}
    slices = find_slices(make_rows(first, second))
    assert {name: len(places) for (_, name), places in slices.items()} == {"color": 20, "material": 10}
    assert {way for way, _ in slices} == {"entity type"}


def test_attributes_divide_rows_by_their_names():
    slices = find_slices(make_rows({"color": "red"}, {"size": "M", "color": "red"}))
    assert {name: len(places) for (_, name), places in slices.items()} == {"color": 20, "size": 10}


def test_one_part_few_rows_and_many_targets_are_no_slices():
    assert find_slices(make_rows("same")) == {}
    assert find_slices(make_rows("a", "b", times=9)) == {}
    assert find_slices(make_rows(*map(str, range(31)))) == {}


def test_thirds_of_prompts_by_their_tokens():
    slices = find_slices([{"num_input_tokens": number} for number in range(30)])
    assert {name: list(places) for (way, name), places in slices.items() if way == "prompt length"} == {
        "1: up to 9 tokens": list(range(10)),
        "2: up to 19 tokens": list(range(10, 20)),
        "3: more than 19 tokens": list(range(20, 30)),
    }


def test_fields_of_records_divide_them_by_category_and_language():
    german = {"text": "Die Jacke ist warm, aber der Reißverschluss klemmt.", "category": "Jacken", "labels": ["a"] * 99}
    english = {"text": "The jacket is warm but the zip gets stuck.", "category": "Jackets", "labels": ["a"] * 99}
    question = [{"role": "user", "content": "What is the category of this product?"}]
    rows = [{"fields": encode(one), "messages": question} for one in (german, english) * 10]
    slices = find_slices(rows)
    assert list(slices) == [("language", "de"), ("language", "en"), ("category", "Jacken"), ("category", "Jackets")]
    assert list(slices["language", "de"]) == list(slices["category", "Jacken"]) == list(range(0, 20, 2))


def test_a_field_that_was_named_counts_and_has_to_be_there():
    rows = [{"fields": encode({"shop": name, "text": "1"})} for name in "xy" * 10]
    assert {name for _, name in find_slices(rows, {"a": "shop"})} == {"x", "y"}
    assert {way for way, _ in find_slices(rows, {"a": "text", "b": "shop"})} == {"shop"}
    with pytest.raises(UserError, match=r"`evaluate\.slices\.b`: record 0 has no field `sop`; it has `shop`, `text`"):
        find_slices(rows, {"b": "sop"})


def test_of_many_categories_the_most_frequent_are_shown():
    rows = [{"fields": encode({"category": f"c{number % 40:02}"})} for number in range(790)]
    slices = find_slices(rows, batch=100)
    assert len(slices) == 30
    assert ("category", "c00") in slices
    assert ("category", "c39") not in slices
