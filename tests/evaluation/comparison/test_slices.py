"""By what the rows of a group are divided."""

from eshop_ray.evaluation.comparison.slices import find_slices
from eshop_ray.schema import encode


def make_rows(*targets, times=10):
    return [{"target": encode(target), "messages": [], "num_input_tokens": None} for target in targets * times]


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
