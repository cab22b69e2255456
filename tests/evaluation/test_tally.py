"""Groups are added up batch by batch: the same as all rows at once, in little memory, fast."""

import time

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.errors import UserError
from eshop_ray.evaluation import tally
from eshop_ray.evaluation.evaluate import read_groups, score_group
from eshop_ray.evaluation.significance import compare_pairs
from eshop_ray.evaluation.tally import Tally, tally_groups
from eshop_ray.schema import PREDICTION_SCHEMA, encode


def write(folder, num_rows, share, seed=0, num_files=3):
    folder.mkdir()
    chance = np.random.default_rng(seed)
    ids = chance.permutation(num_rows)
    for number, part in enumerate(np.array_split(ids, num_files)):
        right = chance.random(len(part)) < share
        columns = {
            "id": [f"row {row}" for row in part],
            "task": ["classification"] * len(part),
            "group": [f"group {row % 2}" for row in part],
            "metric": ["accuracy"] * len(part),
            "target": [encode(f"label {row % 7}") for row in part],
            "prediction": [encode(f"label {row % 7 if good else 9}") for row, good in zip(part, right, strict=True)],
            "error": ["engine: dead" if row % 50 == 49 else None for row in part],
        }
        empty = {name: pa.nulls(len(part), PREDICTION_SCHEMA.field(name).type) for name in PREDICTION_SCHEMA.names}
        table = pa.table({**empty, **columns}).select(PREDICTION_SCHEMA.names).cast(PREDICTION_SCHEMA)
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


def test_batches_add_up_to_what_all_rows_give(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "BATCH_ROWS", 7)
    folder = write(tmp_path / "run", 400, 0.6)
    tallies = tally_groups(folder)
    assert list(tallies) == ["group 0", "group 1"]
    for name, rows in read_groups(folder):
        assert tallies[name].describe() == score_group(rows)
        assert tallies[name].num_rows == len(rows) == 200
    assert tallies["group 1"].num_errors == 8


def test_groups_of_one_name_in_two_tasks_are_two(tmp_path):
    """As of files of one name in two folders, one of choices and one of texts to write."""
    common = {"metric": "accuracy", "error": None, **dict.fromkeys(("messages", "finish_reason"))}
    rows = [
        {**common, "id": f"{task} {number}", "task": task, "group": group, "target": encode(number % 2)}
        for task, group in (("multiple_choice", "PKS"), ("classification", "PKS"), ("multiple_choice", "alone"))
        for number in range(4)
    ]
    rows = [{**row, "prediction": encode(0 if row["task"] == "multiple_choice" else 7)} for row in rows]
    (tmp_path / "run").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), tmp_path / "run" / "part-0.parquet")
    scores = {name: tally.describe()["score"] for name, tally in tally_groups(tmp_path / "run").items()}
    assert scores == {"alone": 0.5, "classification/PKS": 0.0, "multiple_choice/PKS": 0.5}
    assert {name: score_group(found)["score"] for name, found in read_groups(tmp_path / "run")} == scores


def test_rows_of_a_group_that_name_several_metrics_are_scored_apart(tmp_path):
    """As of translations into languages that are scored in different ways."""
    common = {"task": "multiple_choice", "group": "quiz", "error": None}
    common |= dict.fromkeys(("messages", "finish_reason"))
    rows = [
        {**common, "id": f"{metric} {number}", "metric": metric, "target": encode(target), "prediction": encode(said)}
        for metric, target, said in (("accuracy", 0, 0), ("hit rate@3", [1], [2]))
        for number in range(4)
    ]
    (tmp_path / "run").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), tmp_path / "run" / "part-0.parquet")
    scores = {name: tally.describe()["score"] for name, tally in tally_groups(tmp_path / "run").items()}
    assert scores == {"quiz (accuracy)": 1.0, "quiz (hit rate@3)": 0.0}
    assert {name: score_group(found)["score"] for name, found in read_groups(tmp_path / "run")} == scores


def test_targets_that_a_metric_cannot_score_are_named_and_counted():
    good = {"tokens": ["red", "scarf"], "tags": ["B-colour", "O"]}
    targets = [good, {**good, "tags": ["O"]}, good, ["red"]]
    columns = {
        "id": [f"query {number}" for number in range(4)],
        "group": ["queries"] * 4,
        "task": ["ner_tagging"] * 4,
        "metric": ["entity f1"] * 4,
        "target": list(map(encode, targets)),
        "prediction": [encode([["red", "colour"]])] * 4,
        "error": [None] * 4,
    }
    counted = Tally.begin({name: values[0] for name, values in columns.items()})
    told = r"`entity f1` cannot score 2 of 4 rows: query 1 \(ValueError\), query 3 \(TypeError\)\. Their targets"
    with pytest.raises(UserError, match=told):
        counted.add(columns)


def test_rows_are_paired_whatever_their_order(tmp_path):
    one, other = (tally_groups(write(tmp_path / str(seed), 300, 0.6, seed))["group 0"] for seed in range(2))
    ids, first, second = one.pair(other)
    assert len(ids) == 150
    assert sorted(first[:, 0]) == sorted(np.concatenate(one._counts)[:, 0])
    _, again, _ = one.pair(Tally.of([row for name, row in _rows(tmp_path / "0") if name == "group 0"][::-1]))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def _rows(folder):
    return [(name, row) for name, rows in read_groups(folder) for row in rows]


def test_a_group_of_two_metrics_has_no_score(tmp_path):
    row = _rows(write(tmp_path / "run", 20, 0.5))[0][1]
    with pytest.raises(UserError, match="`group 0` mixes the metrics accuracy, ndcg"):
        Tally.of([row]).add({name: [{**row, "metric": "ndcg"}[name]] for name in tally.COLUMNS})


def test_many_rows_are_tested_as_few_are():
    """Sums of rows vary as rows do: against the exact variance of a mean of 200,000."""
    chance = np.random.default_rng(0)
    counts = [np.column_stack([chance.random(200_000) < share, np.ones(200_000)]).astype(float) for share in (0.6, 0.5)]
    started = time.process_time()
    test = compare_pairs("accuracy", *counts, seed=0)
    assert time.process_time() - started < 20
    half = 1.96 * np.std(counts[0][:, 0] - counts[1][:, 0]) / 200_000**0.5
    assert (test.low, test.high) == pytest.approx((test.difference - half, test.difference + half), abs=0.1 * half)
    assert (test.num_rows, test.num_clusters, test.test) == (200_000, 200_000, "mcnemar")


@pytest.mark.slow
def test_a_million_rows_take_seconds_and_no_more_memory_than_their_counts(tmp_path):
    folder = write(tmp_path / "run", 1_000_000, 0.6, num_files=4)
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    tallies = tally_groups(folder)
    seconds = time.process_time() - started
    assert sum(one.num_rows for one in tallies.values()) == 1_000_000
    assert 1_000_000 / seconds > 50_000
    assert process.memory_info().rss - before < 300 << 20
    print(f"{1_000_000 / seconds:,.0f} rows/s, {(process.memory_info().rss - before) >> 20} MiB")
