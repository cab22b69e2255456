"""Shards: grouping, what an engine is given, and what a second try asks."""

import pyarrow as pa

from eshop_ray.data.prompts import PromptSettings
from eshop_ray.enrichment.outcome import read_strictly, split_error, type_prediction
from eshop_ray.enrichment.plan import ACTIONS
from eshop_ray.enrichment.shards import TARGETS, divide_shards, load_shard, merge_questions, write_shards
from eshop_ray.inference.reading import Reading
from eshop_ray.schema import decode, encode
from eshop_ray.storage import Storage
from eshop_ray.tasks import get_task

TASKS = {name: get_task(name) for name in ("classification", "ner_tagging", "ranking", "attributes")}
TARGET = {TARGETS.value_type.field(index).name: None for index in range(TARGETS.value_type.num_fields)}


def work(task, key, product_id="p", fields=None):
    told = {"task": task, "key": key, "product_id": product_id, "prompt_id": "prompt", "change": "new"}
    return {**dict.fromkeys(ACTIONS.names), **told, "fields": encode(fields or {})}


def shards_of(rows, rows_per_shard):
    return list(divide_shards(merge_questions(pa.Table.from_pylist(rows, ACTIONS)), rows_per_shard))


def rows_of(rows, rows_per_shard):
    return [shard.to_pylist() for shard in shards_of(rows, rows_per_shard)]


def test_shards_hold_one_task_and_few_rows():
    rows = [work("b", "x"), *(work("a", str(number)) for number in (3, 1, 4, 0, 2)), work("b", "x", "q")]
    shards = rows_of(rows, 2)
    assert [[row["key"] for row in shard] for shard in shards] == [["0", "1"], ["2", "3"], ["4"], ["x"]]
    assert [target["product_id"] for target in shards[-1][0]["targets"]] == ["p", "q"]
    assert shards[-1][0]["first_product"] == "p"


def test_question_that_very_many_products_share_is_asked_again_for_each_ten_thousand():
    shards = rows_of([work("a", "k", str(number)) for number in range(20_001)], 512)
    assert [len(row["targets"]) for shard in shards for row in shard] == [10_000, 10_000, 1]
    assert [row["first_product"] for shard in shards for row in shard] == ["0", "10000", "20000"]


def test_shard_is_for_no_more_products_than_one_question_may_be():
    rows = [work("a", str(key), str(number)) for number in range(6_000) for key in range(3)]
    assert [len(shard) for shard in shards_of(rows, 512)] == [1, 1, 1]


def test_questions_of_two_tasks_with_one_key_are_two():
    rows = [work(task, key, f"{task}{key}{number}") for number in range(2) for key in "yx" for task in "ba"]
    (first, second) = rows_of(rows, 512)
    assert [[(row["task"], row["key"]) for row in shard] for shard in (first, second)] == [
        [("a", "x"), ("a", "y")],
        [("b", "x"), ("b", "y")],
    ]
    assert [target["product_id"] for target in first[0]["targets"]] == ["ax0", "ax1"]


def test_no_questions_are_no_shards():
    assert shards_of([], 512) == []


def test_loaded_shard_is_what_engines_take(tmp_path):
    rows = [
        work("classification", "k1", fields={"text": "x", "labels": ["A", "B"]}),
        work("classification", "k2"),
    ]
    storage = Storage(str(tmp_path))
    (shard,) = write_shards(storage, "part", shards_of(rows, 8))
    assert (shard["task"], shard["num_rows"]) == ("classification", 2)
    good, bad = load_shard(shard, storage, TASKS, PromptSettings(constrained=False)).to_pylist()
    assert (good["id"], good["shard"], good["error"]) == ("k1", shard["shard"], None)
    assert good["targets"] == [{**TARGET, "product_id": "p", "change": "new"}]
    assert "structured_outputs" not in decode(good["sampling_params"])
    assert decode(good["retry_params"])["structured_outputs"] == {"choice": ["A", "B"]}
    assert bad["error"].startswith("prompt: KeyError")


def test_shards_that_a_repeated_task_writes_again_are_the_same(tmp_path):
    storage = Storage(str(tmp_path))
    rows = [work(task, "k") for task in "ab"]
    written = write_shards(storage, "part", shards_of(rows, 8))
    assert len({shard["shard"] for shard in written}) == 2
    before = [(tmp_path / shard["path"]).read_bytes() for shard in written]
    assert write_shards(storage, "part", shards_of(rows, 8)) == written
    assert [(tmp_path / shard["path"]).read_bytes() for shard in written] == before


def answer(text, reason="stop", task="classification", **values):
    params = encode({"max_tokens": 32, "temperature": 0.0})
    row = {"task": task, "generated_text": text, "finish_reason": reason, "error": None, "num_generated_tokens": 9}
    return {**row, "sampling_params": params, "retry_params": encode({"max_tokens": 32, "min_tokens": 8}), **values}


def test_second_try_gives_room_or_holds_to_the_form():
    assert read_strictly(answer("A"), TASKS) == Reading('"A"')
    assert read_strictly(answer("A", "length"), TASKS).retry_params["max_tokens"] == 64
    assert read_strictly(answer(""), TASKS).retry_params["min_tokens"] == 8


def test_answers_that_must_not_stand_say_why():
    assert read_strictly(answer("A", "length"), TASKS).error.startswith("truncated: cut off after 9 tokens")
    assert read_strictly(answer(""), TASKS).error.startswith("unparseable: ")
    assert read_strictly(answer("<think>A"), TASKS).error.startswith("reasoning: ")
    assert split_error("reasoning: cut")[0] == "reasoning"
    assert split_error("too_long: 9 tokens") == ("too_long", "9 tokens")
    assert split_error("something else") == ("engine", "something else")


def test_prediction_is_typed_as_its_task_says():
    assert type_prediction(TASKS["classification"], '"A"') == {"prediction": '"A"', "text": "A"}
    spans = type_prediction(TASKS["ner_tagging"], '[["red", "color"], ["a", "O"]]')
    assert spans["entities"] == [{"text": "red", "type": "color"}]
    attributes = type_prediction(TASKS["attributes"], '{"color": "red", "size": null, "ma\\ud800": "wool"}')
    assert attributes["entities"] == [{"text": "red", "type": "color"}, {"text": "wool", "type": "ma?"}]
    assert type_prediction(TASKS["ranking"], "[1, 2]") == {"prediction": "[1, 2]"}
