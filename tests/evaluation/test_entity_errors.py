"""Errors of tagged entities, by kind."""

import pytest

from eshop_ray.evaluation.entity_errors import KINDS, EntityErrors
from eshop_ray.tasks.metrics.entities import ENTITY_F1

TOKENS = ["red", "nordvik", "steel", "bottle", "500", "ml"]
TAGS = ["B-color", "B-creator", "B-material", "B-core_product_type", "B-UoM", "I-UoM"]


def count(*answers):
    errors = EntityErrors()
    errors.add([{"tokens": TOKENS, "tags": TAGS}] * len(answers), answers)
    return errors.describe()


def found(kinds):
    return {kind: number for kind, number in kinds.items() if number}


RIGHT = [["red", "color"], ["nordvik", "creator"], ["steel", "material"], ["bottle", "core_product_type"]]


@pytest.mark.parametrize(
    ("spans", "kinds"),
    [
        ([*RIGHT, ["500 ml", "UoM"]], {"right": 5}),
        ([*RIGHT, ["500", "UoM"]], {"right": 4, "wrong boundary": 1}),
        ([*RIGHT, ["500 ml", "quantity"]], {"right": 4, "wrong type": 1}),
        ([*RIGHT, ["500", "quantity"]], {"right": 4, "wrong type and boundary": 1}),
        ([*RIGHT, ["500", "UoM"], ["ml", "UoM"]], {"right": 4, "wrong boundary": 1, "invented": 1}),
        (RIGHT, {"right": 4, "missed": 1}),
        (None, {"missed": 5}),
        ([["red nordvik steel bottle 500 ml", "color"]], {"wrong boundary": 1, "missed": 4}),
    ],
)
def test_each_entity_is_of_one_kind(spans, kinds):
    counted = count(spans)
    assert found(counted["kinds"]) == kinds
    assert set(counted["kinds"]) == set(KINDS)


def test_confusions_are_counted_over_rows():
    wrong = [*RIGHT, ["500 ml", "quantity"]]
    assert count(wrong, wrong, [*RIGHT, ["500", "price"]])["confusions"] == [
        {"target": "UoM", "found": "quantity", "count": 2},
        {"target": "UoM", "found": "price", "count": 1},
    ]


@pytest.mark.parametrize(
    "spans", [[["red", "color"], ["steel bottle", "material"]], [["nordvik", "creator"]], None, []]
)
def test_what_is_right_is_what_the_metric_counts(spans):
    kinds = count(spans)["kinds"]
    target = {"tokens": TOKENS, "tags": TAGS}
    right, invented, missed = ENTITY_F1.count_rows([target], [spans])[0].tolist()
    wrong = sum(kinds[kind] for kind in KINDS[1:4])
    assert (kinds["right"], kinds["missed"] + wrong, kinds["invented"] + wrong) == (right, missed, invented)
