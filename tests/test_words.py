"""Words of languages that are written without blanks."""

import pytest

from eshop_ray.tasks.ner_tagging import TASK, split_name
from eshop_ray.words import join_words, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("red wool scarf", ["red", "wool", "scarf"]),
        ('Röhre 5" für Öl', ["Röhre", '5"', "für", "Öl"]),
        ("メモリーフォームマットレス「雲」", ["メモリーフォームマットレス", "「", "雲", "」"]),
        ("赤いウールのマフラー", ["赤い", "ウール", "の", "マフラー"]),
        ("红色羊毛围巾 2024新款", ["红色", "羊毛", "围巾", "2024", "新款"]),
        ("ผ้าพันคอขนสัตว์สีแดง", ["ผ้าพันคอ", "ขนสัตว์", "สีแดง"]),
        ("وسادة قطنية ناعمة", ["وسادة", "قطنية", "ناعمة"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert split_words(text) == words


@pytest.mark.parametrize("name", ["赤いウールのマフラー", "红色羊毛围巾 2024新款", "ผ้าพันคอขนสัตว์สีแดง", "USB充电器65W"])
def test_a_title_can_be_tagged_and_its_parts_read_as_written(name):
    record = split_name({"name": name})
    tags = ["B-color" if place == 0 else "I-color" for place in range(len(record["tokens"]))]
    answer = TASK.format_target({"tokens": record["tokens"], "tags": tags})
    ((text, kind),) = TASK.parse(answer)
    assert kind == "color"
    assert join_words(text).replace(" ", "") == name.replace(" ", "")
    assert len(record["tokens"]) > 1


def test_what_was_written_with_blanks_keeps_them():
    assert join_words("red wool scarf") == "red wool scarf"
    assert join_words("USB 充 电器") == "USB 充电器"
