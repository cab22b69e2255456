"""Examples as earlier turns of a prompt: from training rows only, and as many as fit."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.artifacts import write_manifest
from eshop_ray.config import Config
from eshop_ray.data.few_shot.shots import (
    CHOICES,
    EXAMPLES,
    Shots,
    check_few_shot,
    choose_shots,
    count_examples,
    set_examples,
    shorten,
)
from eshop_ray.errors import UserError
from eshop_ray.schema import PROMPT_SCHEMA, RECORD_SCHEMA, encode
from eshop_ray.tasks import get_task

LABELS = ["Garden", "Kitchen", "Toys"]


def record(row_id, text, target, group=None):
    return {
        "id": row_id,
        "task": "classification",
        "group": group,
        "target": encode(target),
        "fields": encode({"text": text, "labels": LABELS}),
    }


def write_records(folder, splits):
    for split, rows in splits.items():
        place = folder / "task=classification" / f"split={split}"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), place / "part-0.parquet")
    write_manifest(folder, "records", "test", {})


TRAIN = [
    record("t1", "a spade", "Garden"),
    record("t2", "a pan", "Kitchen"),
    record("t3", "a kite", "Toys"),
    record("t4", "a whisk", "Kitchen"),
    record("t5", "one of another kind", "Toys", group="quiz"),
]
DEV = [record("d1", "A PAN!", "Kitchen"), record("d2", "a ball", "Toys"), record("d3", "a hoe", "Garden", group="new")]


@pytest.fixture
def config(tmp_path):
    write_records(tmp_path / "shop" / "records", {"train": TRAIN, "dev": DEV})
    return Config(name="shop", run_root=str(tmp_path), few_shot={"num_examples": 3})


def chosen_texts(shots):
    texts = shots.examples["question"].to_pylist()
    return {
        row["key"].partition("/")[2]: [texts[place] for place in row["examples"]] for row in shots.choices.to_pylist()
    }


def asked(*texts):
    task = get_task("classification")
    return [task.format_input({"text": text, "labels": LABELS}) for text in texts]


def test_examples_come_from_the_training_rows_of_the_group(config, caplog):
    caplog.set_level("INFO")
    shots = choose_shots(config)
    chosen = chosen_texts(shots)
    assert set(chosen["d1"]) == set(asked("a spade", "a kite", "a whisk"))  # not the question itself
    assert len(chosen["d2"]) == 3
    assert chosen["d3"] == []
    assert set(shots.examples["question"].to_pylist()) <= set(asked("a spade", "a pan", "a kite", "a whisk"))
    assert shots.passed_over["identical"] <= 1
    assert shots.notes == ["group `new` has no training rows: 1 row without examples"]
    assert shots.notes[0] in caplog.text


def test_each_task_draws_from_those_of_the_kept_groups_that_it_has(config):
    for split in ("train", "dev"):
        place = config.records_dir / "task=generation" / f"split={split}"
        place.mkdir(parents=True)
        rows = [
            {
                "id": f"{split}{group}",
                "task": "generation",
                "group": group,
                "target": encode("x"),
                "fields": encode(text),
            }
            for group, text in (("titles", {"prompt": f"Hello {split}"}), ("left out", {"prompt": "Goodbye"}))
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), place / "part-0.parquet")
    data = config.data.model_copy(update={"groups": ("classification", "titles", "new")})
    chosen = chosen_texts(choose_shots(config.model_copy(update={"data": data})))
    assert chosen["devtitles"] == [get_task("generation").format_input({"prompt": "Hello train"})]
    assert set(chosen["d1"]) == set(asked("a spade", "a kite", "a whisk"))
    assert chosen.keys() == {"d1", "d2", "d3", "devtitles"}
    assert chosen["d3"] == []


def test_balanced_examples_have_each_label(config):
    few_shot = config.few_shot.model_copy(update={"choice": "balanced"})
    shots = choose_shots(config.model_copy(update={"few_shot": few_shot}))
    places = shots.choices["examples"].to_pylist()[1]
    assert sorted(shots.examples["answer"].take(places).to_pylist()) == LABELS


def test_rows_of_the_same_query_are_no_examples(config):
    clustered = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"clusters": {"ner": "x"}})})
    assert chosen_texts(choose_shots(clustered)) == chosen_texts(choose_shots(config))  # of another task
    clusters = {"classification": "labels"}  # all rows have the same
    clustered = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"clusters": clusters})})
    shots = choose_shots(clustered)
    assert all(not places for places in shots.choices["examples"].to_pylist())
    assert shots.passed_over["same_cluster"]


def test_rows_of_the_same_query_are_no_examples_where_clusters_are_named_by_group(tmp_path):
    rows = {"train": [record("t1", "a spade", "Garden", "pairs")], "dev": [record("d1", "a hoe", "Garden", "pairs")]}
    write_records(tmp_path / "shop" / "records", rows)
    chosen = {"few_shot": {"num_examples": 1}, "evaluate": {"clusters": {"pairs": "labels"}}}
    shots = choose_shots(Config(name="shop", run_root=str(tmp_path), **chosen))
    assert shots.choices["examples"].to_pylist() == [[]]
    assert shots.passed_over["same_cluster"] == 1


def test_a_task_without_training_rows_is_told(config):
    place = config.records_dir / "task=generation" / "split=dev"
    place.mkdir(parents=True)
    row = {"id": "g", "task": "generation", "target": encode("x"), "fields": encode({"prompt": "Hello"})}
    pq.write_table(pa.Table.from_pylist([row], schema=RECORD_SCHEMA), place / "part-0.parquet")
    assert choose_shots(config).notes[-1] == "task `generation` has no training rows: 1 row without examples"


@pytest.mark.parametrize(
    ("split", "rows", "message"),
    [("train", TRAIN, "which `evaluate.split` names too"), ("dev", None, "has no split `train` to take examples from")],
)
def test_no_examples_from_what_is_scored(tmp_path, split, rows, message):
    write_records(tmp_path / "shop" / "records", {"dev": DEV} | ({"train": rows} if rows else {}))
    config = Config(name="shop", run_root=str(tmp_path), evaluate={"split": split}, few_shot={"num_examples": 1})
    with pytest.raises(UserError, match=message):
        check_few_shot(config)
    check_few_shot(config.model_copy(update={"few_shot": config.few_shot.model_copy(update={"num_examples": 0})}))


HEAD, QUESTION = {"role": "system", "content": "S"}, {"role": "user", "content": "Q"}
PAIRS = [({"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}) for n in range(3)]


@pytest.mark.parametrize(("room", "left"), [(9, "q0 a0 q1 a1 q2 a2"), (7, "q1 a1 q2 a2"), (5, "q2 a2"), (1, "")])
def test_the_first_examples_go_where_not_all_fit(room, left):
    def fits(turns, params):
        return len(turns) + params["max_tokens"] <= room

    turns = shorten([HEAD, QUESTION], PAIRS, {"max_tokens": 1}, fits)
    assert (turns[0], turns[-1]) == (HEAD, QUESTION)
    assert " ".join(turn["content"] for turn in turns[1:-1]) == left
    assert len(shorten([HEAD, QUESTION], PAIRS, {}, None)) == 8


def test_examples_stand_before_the_question_and_failed_rows_stay_as_they_are():
    shots = Shots(
        pa.table([["red?", "blue?"], ["Yes", "No"]], schema=EXAMPLES),
        pa.table([["classification/1"], [[1, 0]]], schema=CHOICES),
    )
    messages = [HEAD, QUESTION]
    rows = [
        {"id": "1", "task": "classification", "messages": messages, "sampling_params": json.dumps({"max_tokens": 1})},
        {"id": "2", "task": "classification", "messages": messages, "sampling_params": json.dumps({"max_tokens": 1})},
        {"id": "1", "task": "classification", "error": "prompt: KeyError"},
    ]
    block = set_examples(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA), shots, None)
    assert block.schema == PROMPT_SCHEMA
    texts = [row and [turn["content"] for turn in row] for row in block["messages"].to_pylist()]
    assert texts == [["S", "blue?", "No", "red?", "Yes", "Q"], ["S", "Q"], None]
    assert count_examples(block["messages"].combine_chunks()) == {2: 1, 0: 1}
    assert set_examples(block.slice(0, 0), shots, None).num_rows == 0
