"""Training sizes that are nested by construction, and rows of one group of a task."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.config import Config
from eshop_ray.data.ladder import pick_rung
from eshop_ray.data.splits import list_groups, list_ids, read_clusters, read_training
from eshop_ray.errors import UserError
from eshop_ray.schema import RECORD_SCHEMA, encode

IDS = [f"row-{number}" for number in range(400)]


def pick(ids, size, seed=0):
    return {ids[place] for place in pick_rung(ids, size, seed)}


@given(st.integers(0, 450), st.integers(0, 450), st.integers(0, 2**32))
def test_a_smaller_size_is_within_a_larger_one(one, other, seed):
    small, large = sorted((one, other))
    chosen = pick(IDS, small, seed)
    assert chosen <= pick(IDS, large, seed)
    assert len(chosen) == min(small, len(IDS))


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    shuffled = random.Random(1).sample(IDS, len(IDS))
    assert pick(IDS, 50) == pick(shuffled, 50)
    assert 0 < len(pick(IDS, 50) & pick(IDS, 50, seed=1)) < 50
    assert pick_rung(IDS, None, 0) == list(range(len(IDS)))


def test_a_row_more_moves_at_most_one_other():
    for number in range(50):
        assert len(pick(IDS, 50) - pick([*IDS, f"new-{number}"], 50)) <= 1


def write(folder, rows):
    folder.mkdir(parents=True)
    for number in range(2):  # several files are read otherwise than one
        part = pa.Table.from_pylist(rows[number::2], schema=RECORD_SCHEMA)
        pq.write_table(part, folder / f"part-{number}.parquet")


@pytest.fixture
def config(tmp_path):
    """Records of two groups of `classification`, 30 and 6 rows, and 20 of `ner`, which has no groups."""
    groups = {"pairs": 30, "category": 6}
    rows = [
        {"id": f"{group}{number}", "task": "classification", "group": group, "target": encode("A")}
        | {"fields": encode({"text": "x"} | ({"query": f"q{number // 3}"} if group == "pairs" else {}))}
        for group, num_rows in groups.items()
        for number in range(num_rows)
    ]
    queries = [
        {"id": f"ner{number}", "task": "ner", "target": encode(["A"]), "fields": encode({"prompt": "x"})}
        for number in range(20)
    ]
    for split in ("train", "dev"):
        write(tmp_path / "records" / "task=classification" / f"split={split}", rows)
        write(tmp_path / "records" / "task=ner" / f"split={split}", queries)
    return Config.model_validate({"name": "run", "data": {"records_dir": str(tmp_path / "records")}})


def derive(config, **data):
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def read(config):
    return {row["id"] for row in read_training(config).take_all()}


@pytest.mark.usefixtures("ray_session")
def test_every_group_of_a_task_has_its_own_ladder(config):
    few, more = (read(derive(config, max_train_rows=size)) for size in (4, 10))
    assert few < more
    assert [sum(name.startswith(group) for name in more) for group in ("pairs", "category", "ner")] == [10, 6, 10]
    single = read(derive(config, max_train_rows=10, tasks=("classification",), groups=("pairs",)))
    assert single == {name for name in more if name.startswith("pairs")}
    assert read(derive(config, groups=("category",))) == {f"category{number}" for number in range(6)}
    assert len(read(config)) == 56


def test_groups_of_a_split(config):
    found = list_groups(config.records_dir, "dev")
    assert found == [("classification", "category"), ("classification", "pairs"), ("ner", "ner")]
    asked = list(list_ids(config.records_dir, "dev", max_rows=5, groups=("pairs", "ner")))
    assert {task for task, _ in asked} == {"classification", "ner"}
    assert len(asked) == 10
    with pytest.raises(UserError, match=r"`data\.groups`: no record is of a group paris"):
        list(list_ids(config.records_dir, "dev", groups=("paris",)))


def test_a_group_has_clusters_of_its_own(config):
    clusters = read_clusters(config.records_dir, "dev", {"pairs": "query"})
    assert len(clusters) == 30
    assert len(set(clusters.values())) == 10
    with pytest.raises(UserError, match=r"`evaluate\.clusters\.classification`: record category0 has no field `query`"):
        read_clusters(config.records_dir, "dev", {"classification": "query"})
