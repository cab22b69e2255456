"""Which candidates stay: decisions over plain rows, without Ray."""

import pyarrow as pa
import pytest

from eshop_ray.config import Config
from eshop_ray.data.instructions.candidates import assemble
from eshop_ray.data.instructions.choose import (
    CROSSING,
    OVER_QUOTA,
    PASSED_OVER,
    REPEATED,
    find_limits,
    mark_crossing,
    mark_repeats,
    mark_surplus,
)
from eshop_ray.data.instructions.decontaminate import SHARED, Index, mark_contaminated, read_index
from eshop_ray.data.instructions.material import OfferPair, Product
from eshop_ray.data.instructions.plan import Plan
from eshop_ray.data.instructions.reading import MATERIAL_SCHEMA, add_bucket, to_row
from eshop_ray.errors import UserError

TEXT = [("removed", pa.string())]
SHARED_TEXT = "the lid of this bottle never leaks although I drop it"


def make_plan(**quotas):
    shares = {"eval_share": 0.1, "max_eval_rows": 2, "max_passed_on_share": 0.4}
    keyed = {(name, "train"): quota for name, quota in quotas.items()}
    return Plan(seed=0, digest="d", drawn_by="d", quotas=keyed, entries=(), sources={}, **shares)


def make_rows(number, group="a", split="train", route="transformed", start=0):
    told = {"group": group, "split": split, "route": route, "made": None}
    return [{**told, "rank": start + place} for place in range(number)]


def mark(rows, limits):
    table = pa.Table.from_pylist([{**row, "removed": None} for row in rows])
    table = table.set_column(table.column_names.index("removed"), "removed", pa.nulls(len(rows), pa.string()))
    return mark_surplus(table, limits)["removed"].to_pylist()


def test_quotas_keep_the_first_by_rank():
    rows = [*make_rows(5), *make_rows(4, split="dev"), *make_rows(3, group="b")]
    removed = mark(rows, find_limits(rows, make_plan(a=3, b=None)))
    assert removed == [None, None, None, OVER_QUOTA, OVER_QUOTA, None, None, OVER_QUOTA, OVER_QUOTA, None, None, None]


def test_rows_passed_on_are_at_most_a_share_of_all():
    rows = [*make_rows(60), *make_rows(900, group="b", route="passed_on", start=10)]
    removed = mark(rows, find_limits(rows, make_plan(a=None, b=None)))
    kept = [row["route"] for row, reason in zip(rows, removed, strict=True) if reason is None]
    assert kept.count("transformed") == 60
    assert kept.count("passed_on") == 40
    assert removed.count(PASSED_OVER) == 860


def test_of_two_that_ask_the_same_the_evaluation_keeps_its_row():
    rows = [
        {"content": "x", "split": "train", "rank": 1, "id": "1", "removed": None},
        {"content": "x", "split": "dev", "rank": 2, "id": "2", "removed": None},
        {"content": "y", "split": "train", "rank": 4, "id": "3", "removed": None},
        {"content": "y", "split": "train", "rank": 3, "id": "4", "removed": None},
        {"content": "y", "split": "train", "rank": 0, "id": "5", "removed": "broken"},
    ]
    found = mark_repeats(pa.Table.from_pylist(rows))["removed"].to_pylist()
    assert found == [REPEATED, None, REPEATED, None, "broken"]


def test_rows_to_learn_from_name_no_product_of_an_evaluation():
    schema = pa.schema([("split", pa.string()), ("keys", pa.list_(pa.string())), *TEXT])
    rows = [
        {"split": "train", "keys": ["a", "b"]},
        {"split": "train", "keys": ["b"]},
        {"split": "dev", "keys": ["a"]},
        {"split": "train", "keys": []},
    ]
    found = mark_crossing(pa.Table.from_pylist(rows, schema=schema), frozenset({"a"}))["removed"].to_pylist()
    assert found == [CROSSING, None, None, None]


def test_what_has_one_id_meets_in_one_bucket_however_large_its_department_and_one_of_it_stays():
    pairs = [
        OfferPair(id=str(number // 2), first="a", second=str(number), is_same=bool(number % 2)) for number in range(40)
    ]
    rows = [to_row(pair, {"source": "offers", "path": "x"}, 1) for pair in pairs]
    table = pa.Table.from_pylist(rows, schema=MATERIAL_SCHEMA)
    placed = add_bucket(table, {("offers", ""): 5}, {"offers": 5}).to_pylist()
    buckets = {row["id"]: set() for row in placed}
    for row in placed:
        buckets[row["id"]].add(row["bucket"])
    assert all(len(found) == 1 for found in buckets.values())
    assert len(set.union(*buckets.values())) > 1
    assert assemble(pairs) == assemble(pairs[::-1])[::-1]
    assert len(assemble(pairs)) == 20


def test_material_that_cannot_be_stored_is_named_by_its_line():
    product = Product(id="1", title="Tasse Gr\udcfcn")
    row = to_row(product, {"source": "shop", "path": "shop.csv"}, 7)
    assert (row["path"], row["line"], row.get("kind")) == ("shop.csv", 7, None)
    assert "none of the file's encoding" in row["reason"]


def make_config(folder):
    (folder / "held.jsonl").write_text(
        '{"rating": 5, "text": "I love it: the lid of this bottle never leaks although!"}'
    )
    values = {"decontaminate": [{"format": "reviews", "path": "held.jsonl"}]}
    return Config.model_validate({"name": "run", "data": {"root": str(folder)}, "instructions": values})


def test_a_rare_run_of_words_gives_an_evaluation_away(tmp_path):
    schema = pa.schema(
        [
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            ("keys", pa.list_(pa.string())),
            *TEXT,
        ]
    )
    rows = [
        {"messages": [{"role": "user", "content": f"Review: {text}"}], "keys": []}
        for text in (SHARED_TEXT, "the lid of this bottle leaks", "")
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    index = read_index(make_config(tmp_path))
    assert mark_contaminated(table, index)["removed"].to_pylist() == [SHARED, None, None]
    assert mark_contaminated(table, Index(frozenset(), frozenset()))["removed"].to_pylist() == [None, None, None]


def test_an_evaluation_set_that_is_not_there_is_no_clean_bill(tmp_path):
    config = make_config(tmp_path)
    (tmp_path / "held.jsonl").unlink()
    with pytest.raises(UserError, match="no such file"):
        read_index(config)
