"""Which candidates stay: decisions over plain rows, without Ray."""

import json
from random import Random

import pyarrow as pa
import pytest

from eshop_ray.config import Config
from eshop_ray.data.instructions import decontaminate
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA, assemble
from eshop_ray.data.instructions.choose import (
    CROSSING,
    OVER_QUOTA,
    PASSED_OVER,
    REPEATED,
    mark_crossing,
    mark_repeats,
    mark_surplus,
)
from eshop_ray.data.instructions.decontaminate import SAID, SHARED, Index, mark_contaminated, read_index
from eshop_ray.data.instructions.limits import Limits, find_limits, rank_rows
from eshop_ray.data.instructions.material import OfferPair, Product, ProductQuestion
from eshop_ray.data.instructions.plan import Plan
from eshop_ray.data.instructions.question import Question, Text
from eshop_ray.data.instructions.reading import MATERIAL_SCHEMA, add_bucket, to_row
from eshop_ray.data.instructions.text_keys import list_said
from eshop_ray.errors import UserError
from eshop_ray.schema import content_id
from eshop_ray.words import fold_words, list_runs

TEXT = [("removed", pa.string())]
SHARED_TEXT = "the lid of this bottle never leaks although I drop it"


def make_plan(**quotas):
    shares = {"eval_share": 0.1, "max_eval_rows": 2, "max_passed_on_share": 0.4}
    keyed = {(name, "train"): quota for name, quota in quotas.items()}
    return Plan(seed=0, digest="d", drawn_by="d", quotas=keyed, entries=(), sources={}, **shares)


def make_rows(number, group="a", split="train", route="transformed", start=0):
    told = {"group": group, "split": split, "route": route, "made": None}
    return [{**told, "rank": start + place} for place in range(number)]


def find(rows, plan, num_blocks=1):
    """Return the limits of rows that come in blocks."""
    schema = pa.schema([(name, pa.int64() if name == "rank" else pa.string()) for name in rows[0]])
    blocks = [pa.Table.from_pylist(rows[start::num_blocks], schema=schema) for start in range(num_blocks)]
    return find_limits([rank_rows(block, plan) for block in blocks], plan)


def mark(rows, limits):
    table = pa.Table.from_pylist([{**row, "removed": None} for row in rows])
    table = table.set_column(table.column_names.index("removed"), "removed", pa.nulls(len(rows), pa.string()))
    return mark_surplus(table, limits)["removed"].to_pylist()


def test_quotas_keep_the_first_by_rank():
    rows = [*make_rows(5), *make_rows(4, split="dev"), *make_rows(3, group="b")]
    removed = mark(rows, find(rows, make_plan(a=3, b=None)))
    assert removed == [None, None, None, OVER_QUOTA, OVER_QUOTA, None, None, OVER_QUOTA, OVER_QUOTA, None, None, None]


def test_rows_passed_on_are_at_most_a_share_of_all():
    rows = [*make_rows(60), *make_rows(900, group="b", route="passed_on", start=10)]
    removed = mark(rows, find(rows, make_plan(a=None, b=None)))
    kept = [row["route"] for row, reason in zip(rows, removed, strict=True) if reason is None]
    assert kept.count("transformed") == 60
    assert kept.count("passed_on") == 40
    assert removed.count(PASSED_OVER) == 860


def find_at_once(rows, plan):
    """Return the limits as one finds them who sees all rows."""
    kept, limits = {}, {}
    for key in sorted({(row["group"], row["split"]) for row in rows}):
        own = sorted((row["rank"], row["route"]) for row in rows if (row["group"], row["split"]) == key)
        quota = plan.limit_of(*key)
        limits |= {key: own[quota][0]} if quota is not None and len(own) > quota else {}
        kept[key] = own[:quota]
    passed = {key: [rank for rank, route in own if route == "passed_on"] for key, own in kept.items()}
    num_passed = sum(map(len, passed.values()))
    share = (sum(map(len, kept.values())) - num_passed) * plan.max_passed_on_share / (1 - plan.max_passed_on_share)
    share = min(1.0, share / max(num_passed, 1))
    less = {key: own[int(len(own) * share)] for key, own in passed.items() if int(len(own) * share) < len(own)}
    return Limits(limits, {**limits, **less})


@pytest.mark.parametrize("num_blocks", [1, 7, 60])
@pytest.mark.parametrize(
    "quotas", [{"a": 0, "b": None}, {"a": 100, "b": 30}, {"a": None, "b": 1}, {"a": 200, "b": 300}]
)
def test_limits_do_not_depend_on_blocks(quotas, num_blocks):
    draw = Random(num_blocks)
    ranks = draw.sample(range(1 << 62), 400)
    told = [
        {"group": draw.choice("ab"), "split": draw.choice(["train", "train", "dev"]), "made": None, "rank": rank}
        for rank in ranks
    ]
    rows = [{**row, "route": draw.choice(["transformed", "passed_on"])} for row in told]
    plan = make_plan(**quotas)
    assert find(rows, plan, num_blocks) == find_at_once(rows, plan)


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
            ("texts", pa.list_(pa.string())),
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


def read_held(folder, rows, **recipe):
    """Return the index of an evaluation set of reviews."""
    (folder / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {"decontaminate": [{"format": "reviews", "path": "held.jsonl"}], **recipe}
    return read_index(Config.model_validate({"name": "run", "data": {"root": str(folder)}, "instructions": values}))


def test_one_text_of_many_pieces_is_one_owner_of_its_runs(tmp_path):
    rows = [{"rating": 1 + number % 5, "text": SHARED_TEXT, "asin": str(number)} for number in range(10)]
    others = [
        {"rating": 5, "text": f"number {number} is what they all say of a thing", "asin": str(number)}
        for number in range(10)
    ]
    index = read_held(tmp_path, [*rows, *others], text_cleaning=None)
    runs = {content_id(run) for run in list_runs(fold_words(SHARED_TEXT), 8)}
    assert runs <= index.runs
    assert content_id("is what they all say of a thing") not in index.runs


@pytest.mark.parametrize(
    ("question", "answer", "is_said"),
    [
        ("Is it waterproof?", "yes", True),
        ("is it  WATERPROOF?", "Who knows", True),
        ("Is it heavy?", "yes", False),
        ("Is it heavy?", "The red lid leaks.", True),
        ("Is it heavy?", "Yes, it does.", False),
        ("Is it heavy?", "No pin included.", False),
        ("Is it big?", "Who knows", False),
    ],
)
def test_short_texts_are_compared_as_wholes_unless_they_say_nothing(question, answer, is_said, monkeypatch):
    held = [
        ProductQuestion(id="1", question="Is it waterproof?", answer="yes", product="B1"),
        ProductQuestion(id="2", question="Does it leak?", answer="Yes, it does.", evidence="No pin included."),
        ProductQuestion(id="8", question="How is the lid?", answer="The red lid leaks."),
        *(ProductQuestion(id=str(number), question="Is it big?", product=str(number)) for number in range(3, 7)),
    ]
    monkeypatch.setattr(decontaminate, "_read_material", lambda _: iter(held))
    index = read_index(None)
    texts = list(list_said(Question({"question": question, "evidence": "x"}, Text(answer))))
    row = {"messages": [{"role": "user", "content": question}], "keys": [], "texts": texts, "removed": None}
    schema = pa.schema([*CANDIDATE_SCHEMA])
    found = mark_contaminated(pa.Table.from_pylist([row], schema=schema), index)["removed"].to_pylist()
    assert found == [SAID if is_said else None]


def test_what_cannot_be_read_of_an_evaluation_set_is_counted(tmp_path):
    fine, bad = {"rating": 5, "text": "The red lid leaks a lot."}, {"rating": 9, "text": "x"}
    index = read_held(tmp_path, [bad, fine, *[bad] * 4])
    assert index.num_malformed == {"held.jsonl": 5}
    assert "held.jsonl:1: `rating` is not 1 to 5" in index.malformed_examples["held.jsonl"][0]
    assert len(index.malformed_examples["held.jsonl"]) == 3
    with pytest.raises(UserError, match=r"held.jsonl: no row in it could be read"):
        read_held(tmp_path, [bad])


def test_an_evaluation_set_that_is_not_there_is_no_clean_bill(tmp_path):
    config = make_config(tmp_path)
    (tmp_path / "held.jsonl").unlink()
    with pytest.raises(UserError, match="no such file"):
        read_index(config)
