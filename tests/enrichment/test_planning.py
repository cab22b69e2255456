"""The tasks that sort and divide what is to be done: each reads some exchanges and fills others."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from eshop_ray.data.prompts import PromptSettings
from eshop_ray.enrichment import planning
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.plan import ACTIONS
from eshop_ray.enrichment.planning import (
    Plan,
    bucket_items,
    cut_shards,
    divide_buckets,
    group_files,
    key_beginnings,
    number_files,
    resolve_asked,
    sort_keys,
)
from eshop_ray.enrichment.shards import load_shard
from eshop_ray.enrichment.staging import Staging
from eshop_ray.enrichment.table import DataFile, partition_of
from eshop_ray.schema import decode, encode
from eshop_ray.storage import Storage
from eshop_ray.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
NUM_BUCKETS = 4
CLASSIFICATION = {"classification": get_task("classification")}


@pytest.fixture
def work(tmp_path):
    return Staging(Storage(str(tmp_path)), NUM_BUCKETS, ("brand", "category"))


def data_file(number, size=1, bucket=0):
    return DataFile(f"part-{number}", size, 1, 0, partition_of(bucket, NUM_BUCKETS))


def numbers_of(groups):
    return [[row["number"] for row in group["files"]] for group in groups]


def test_files_are_grouped_by_number_and_size(monkeypatch):
    monkeypatch.setattr(planning, "FILE_GROUP_SIZE", 3)
    monkeypatch.setattr(planning, "FILE_GROUP_BYTES", 10)
    groups = group_files(number_files(data_file(number) for number in range(7)))
    assert (numbers_of(groups), [group["number"] for group in groups]) == ([[0, 1, 2], [3, 4, 5], [6]], [0, 1, 2])
    sizes = (50, 9, 2, 1, 1)
    assert numbers_of(group_files(number_files(map(data_file, range(5), sizes)))) == [[0], [1, 2], [3, 4]]
    assert DataFile.from_row(groups[2]["files"][0]["file"]) == data_file(6)
    assert group_files([]) == []


def test_each_bucket_is_given_its_files_of_both_tables_by_their_numbers():
    files = [data_file(number, bucket=bucket) for number, bucket in enumerate((1, 0, 1))]
    items = bucket_items(NUM_BUCKETS, files, [data_file(0, bucket=2)])
    told = [
        (item["bucket"], *([row["number"] for row in item[name]] for name in ("files", "bad_files"))) for item in items
    ]
    assert told == [(0, [1], []), (1, [0, 2], []), (2, [], [0]), (3, [], [])]


KEYS = [f"{number:032x}" for number in (5, 2**127, 7 << 116, (7 << 116) + 1)]
FORMER_KEY = f"{3:064x}"


def test_keys_that_begin_alike_have_one_beginning_whatever_their_length():
    found = key_beginnings(pa.chunked_array([[*KEYS[:2]], [*KEYS[2:], FORMER_KEY, "f" * 32]])).tolist()
    assert [found.index(number) for number in found] == [0, 1, 2, 2, 0, 5]
    assert key_beginnings(pa.chunked_array([], pa.string())).tolist() == []


class Kept:
    """Stands for the enriched table."""

    def __init__(self, *files):
        self.files = files

    def read_file(self, file, columns):
        rows = self.files[int(file.path.removeprefix("part-"))]
        made = pa.Table.from_pylist(rows, ENRICHED_SCHEMA).append_column(
            "position", pa.array(range(len(rows)), pa.int64())
        )
        return made.select([*columns, "position"])


def enriched(key, prediction_key):
    return {"product_id": "p", "task": "t", "key": key, "prediction_key": prediction_key, "status": "enriched"}


@pytest.mark.parametrize("asked", [None, KEYS[:1], KEYS[:3]])
def test_answers_are_found_by_key_where_they_stand(work, asked):
    table = Kept(
        [enriched("of other trouble", KEYS[0]), enriched(KEYS[1], None)],
        [enriched(KEYS[3], KEYS[3]), enriched(KEYS[1], KEYS[1])],
    )
    wanted = None if asked is None else np.sort(key_beginnings(pa.chunked_array([asked])))
    (item,) = group_files(number_files(map(data_file, range(2))))
    keys = work.exchange("keys")
    found = keys.with_parts(sort_keys(item, table, keys, wanted)["parts"])
    rows = [(bucket, row) for bucket in range(NUM_BUCKETS) for row in found.read(bucket).to_pylist()]
    assert all(bucket == bucket_of(row["prediction_key"], NUM_BUCKETS) for bucket, row in rows)
    places = {row["prediction_key"]: (row["file"], row["position"]) for _, row in rows}
    expected = {KEYS[0]: (0, 0), KEYS[3]: (1, 0), KEYS[1]: (1, 1)}
    # Two that begin alike are told apart later.
    seen = {None: KEYS, 1: KEYS[:1], 3: KEYS}[asked and len(asked)]
    assert places == {key: place for key, place in expected.items() if key in seen}


def test_table_without_answers_to_what_is_asked_gives_none(work):
    (item,) = group_files(number_files([data_file(0)]))
    table = Kept([enriched("no key at all", None)])
    assert sort_keys(item, table, work.exchange("keys"), np.array([5]))["parts"] == []


def ask(key, product_id, task="classification"):
    fields = encode({"text": key, "labels": ["A"]})
    told = {"status": "ask", "change": "new", "fields": fields, "replaces": False, "clears": False}
    return {**dict.fromkeys(ACTIONS.names), **told, "task": task, "key": key, "product_id": product_id}


def write(exchange, rows, column):
    table = pa.Table.from_pylist(rows, exchange.schema)
    places = np.array([bucket_of(row[column], exchange.num_buckets) for row in rows], np.int64)
    return exchange.with_parts([exchange.write("part", table, places).to_row()])


def test_known_answers_are_copied_and_equal_questions_are_asked_once(work):
    rows = [ask(KEYS[0], "p1"), ask(KEYS[1], "p2"), ask(KEYS[0], "p3"), ask(KEYS[1], "p4"), ask(KEYS[2], "p5", "ner")]
    known = {**enriched("of later trouble", KEYS[1]), "file": 2, "position": 9}
    keys = write(work.exchange("keys"), [known], "prediction_key")
    asked, resolved, questions = write(work.exchange("asked"), rows, "key"), work.exchange("resolved", 4), "questions"
    report = resolve_asked(range(NUM_BUCKETS), asked, keys, resolved, work.exchange(questions))
    copies = resolved.with_parts(report["resolved_parts"]).read(3).to_pylist()
    assert report["resolved"] == [2]
    assert sorted((row["product_id"], row["status"], row["copy_position"], row["fields"]) for row in copies) == [
        ("p2", "enriched", 9, None),
        ("p4", "enriched", 9, None),
    ]
    found = work.exchange(questions).with_parts(report["question_parts"])
    asked_of = {bucket: found.read(bucket).to_pylist() for bucket in range(NUM_BUCKETS)}
    assert {int(bucket): number for bucket, number in report["questions"].items()} == {
        bucket: len(rows) for bucket, rows in asked_of.items() if rows
    }
    assert {
        row["key"]: [target["product_id"] for target in row["targets"]] for rows in asked_of.values() for row in rows
    } == {KEYS[0]: ["p1", "p3"], KEYS[2]: ["p5"]}
    assert all(
        bucket_of(row["first_product"], NUM_BUCKETS) == place for place, rows in asked_of.items() for row in rows
    )


def test_shards_are_cut_task_by_task(work):
    rows = [ask(f"{number:032x}", f"p{number}", task) for number in range(9) for task in ("ner", "classification")]
    questions, resolved = work.exchange("questions"), work.exchange("resolved", 1)
    asked, keys = write(work.exchange("asked"), rows, "key"), work.exchange("keys")
    report = resolve_asked(range(NUM_BUCKETS), asked, keys, resolved, questions)
    assert (report["resolved"], report["resolved_parts"]) == ([], [])
    questions = questions.with_parts(report["question_parts"])
    shards = cut_shards(range(NUM_BUCKETS), questions, 4, {})["shards"]
    assert cut_shards(range(NUM_BUCKETS), questions, 4, {})["shards"] == shards
    assert [shard["num_rows"] for shard in shards if shard["task"] == "classification"] == [4, 4, 1]
    loaded = [
        row
        for shard in shards
        if shard["task"] == "classification"
        for row in load_shard(shard, work.storage, CLASSIFICATION, PromptSettings(constrained=False)).to_pylist()
    ]
    assert {row["id"]: row["targets"][0]["product_id"] for row in loaded} == {
        row["key"]: row["product_id"] for row in rows
    }
    assert [decode(row["sampling_params"])["temperature"] for row in loaded] == [0.0] * 9


def report_of(keys, asked=None, resolved=(), samples=None):
    known = {"counts": {}, "asked_parts": [], "resolved_parts": []}
    return {
        **known,
        "asked": asked or {},
        "keys": keys,
        "resolved": list(resolved),
        "samples": samples or {},
        "changes": [],
    }


def test_plan_takes_the_reports_of_all_buckets_together(work, monkeypatch):
    monkeypatch.setattr(planning, "MAX_BEGINNINGS", 3)
    plan = Plan(work.exchange("asked"), work.exchange("resolved"))
    assert plan.key_beginnings.tolist() == []
    plan.add(report_of([9, 4], {"1": 2, "3": 1}, [-1, 5], {"deleted": ["p4", "p2"]}))
    plan.add(report_of([4, 2], {"3": 2}, [5], {"deleted": ["p3", "p1"], "changed": ["p9"]}))
    assert plan.num_asked == {1: 2, 3: 3}
    assert (plan.copied, plan.key_beginnings.tolist()) == ({-1, 5}, [2, 4, 9])
    assert plan.samples == {"deleted": {"p1", "p2", "p3"}, "changed": {"p9"}}
    plan.add(report_of([1]))
    plan.add(report_of([2]))
    assert plan.key_beginnings is None


def test_buckets_are_divided_so_that_a_task_has_enough_to_do():
    assert list(divide_buckets({}, 10)) == []
    assert list(divide_buckets(Counter({7: 3, 1: 5, 4: 5, 9: 1}), 10)) == [[1, 4], [7, 9]]
    assert list(divide_buckets({0: 100, 1: 1}, 10)) == [[0], [1]]
