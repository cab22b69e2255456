"""Whole nights on real Ray and a real Delta table; the engine is simulated, its faults included."""

import json

import daft
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from duckdb_extensions import import_extension

from eshop_ray.enrichment import run
from eshop_ray.enrichment.erase import erase_product
from eshop_ray.enrichment.estimate import estimate_night
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.enrichment.rollback import roll_back
from eshop_ray.errors import BudgetSpentError, UserError
from eshop_ray.models import Model
from tests.enrichment.shop import COUNTED, product, review

pytestmark = pytest.mark.usefixtures("ray_session")


def test_second_night_costs_what_changed(enriched, enriched_shop):
    shop, first = enriched_shop, enriched[1]
    assert (first["num_rows"], first["num_new"], first["num_empty"]) == (120, 120, 20)
    assert shop.night()["num_inferred"] == 0

    shop.products[3] = product(3, name="blue scarf 3")
    shop.reviews.append(review(4, "even better", 99))
    del shop.products[7]
    shop.products.append(product(100))
    before = shop.rows()
    second = shop.night()
    assert {name: second[name] for name in COUNTED} == {
        "num_new": 3,
        "num_changed": 3,
        "num_unchanged": 114,
        "num_deleted": 3,
        "num_quarantined": 0,
        "num_postponed": 0,
    }
    assert second["num_inferred"] == 5  # p3: name and category; p4: reviews; p100: name and category
    after = shop.rows()
    changed = {key for key in after if after[key] != before.get(key)}
    tagged, categorized, summed_up = (
        {(f"p{number}", task) for number in (3, 7, 100)} for task in ("ner_tagging", "classification", "summarization")
    )
    assert changed == tagged | categorized | summed_up - {("p3", "summarization")} | {("p4", "summarization")}
    assert {after["p7", task]["status"] for task in ("classification", "ner_tagging")} == {"deleted"}


def test_returned_product_is_restored_without_the_engine(enriched_shop):
    shop = enriched_shop
    gone = shop.products.pop(6)
    before = shop.rows()
    shop.night()
    shop.products.append(gone)
    stats = shop.night()
    assert (stats["num_new"], stats["num_inferred"], stats["num_duplicates_reused"]) == (3, 0, 3)
    after = shop.rows()
    for task in ("classification", "ner_tagging", "summarization"):
        assert {**after["p6", task], "updated_at": None} == {**before["p6", task], "updated_at": None}


def test_equal_questions_are_asked_once(shop):
    shop.products = [{**product(number), "name": "same", "description": "same"} for number in range(30)]
    shop.reviews = []
    stats = shop.night()
    assert (stats["num_inferred"], stats["num_duplicates_reused"], stats["num_new"]) == (2, 58, 90)
    shop.products.append({**product(31), "name": "same", "description": "same"})
    later = shop.night()
    assert (later["num_inferred"], later["num_duplicates_reused"]) == (0, 2)


def test_new_model_asks_everything_again(enriched_shop):
    shop = enriched_shop
    stats = shop.night(model="better model")
    assert (stats["num_changed"], stats["num_inferred"]) == (120, 100)
    assert {row["model_digest"] for row in shop.rows().values()} == {"better model"}


def test_bad_rows_go_to_quarantine_with_their_reason(shop):
    shop.products += [
        {"id": "typed", "name": 5, "category": "Garden"},
        {"id": "empty", "name": "", "description": None},
        {"id": "long", "name": "x" * 200_000, "category": "Garden"},
        {"id": "p1", "name": "twice"},
        {"name": "without id"},
    ]
    shop.raw = b'{"id": "broken\n\xff\xfe\n'
    shop.reviews.append({"parent_asin": "p1", "text": 7})
    shop.faults = {"truncate_on": "scarf 11", "empty_on": "number 12", "reject_on": "scarf 13"}
    stats = shop.night()
    reasons = {(row["product_id"], row["task"]): row["reason"] for row in shop.quarantine()}
    assert reasons["typed", "ner_tagging"] == reasons["typed", "classification"] == "wrong_type"
    assert reasons["empty", "ner_tagging"] == reasons["empty", "classification"] == "missing_text"
    assert reasons["long", "ner_tagging"] == "too_long"
    assert reasons["p11", "ner_tagging"] == "truncated"
    assert reasons["p12", "classification"] == "unparseable"
    assert reasons["p13", "classification"] == "engine"
    unreadable = sorted(row["reason"] for row in shop.quarantine() if row["task"] is None)
    assert unreadable == ["duplicate_id", "missing_id", "unreadable", "unreadable", "wrong_type"]
    assert stats["num_quarantined"] == len(shop.quarantine()) == sum(stats["quarantine"].values())
    assert all(row["attempts"] == 1 and row["fingerprint"] and row["message"] for row in shop.quarantine())
    assert shop.rows()["p11", "ner_tagging"]["prediction"] is None

    again = shop.night()  # nothing but what the engine refused is asked again
    assert (again["num_quarantined"], again["num_inferred"]) == (stats["num_quarantined"], 2)


@pytest.mark.slow  # three nights
def test_replay_empties_the_quarantine_once_the_trouble_is_over(shop):
    shop.faults = {"truncate_on": "scarf 11"}
    num_bad = shop.night()["num_quarantined"]
    assert num_bad > 0
    shop.faults = {}
    assert shop.night()["num_quarantined"] == num_bad
    stats = shop.night(replay=True)
    assert (stats["num_quarantined"], stats["num_changed"]) == (0, num_bad)
    assert shop.quarantine() == []
    assert shop.rows()["p11", "classification"]["status"] == "enriched"


def test_too_large_a_share_fails_after_the_good_rows_are_committed(shop):
    shop.products += [{"id": f"bad{number}"} for number in range(20)]
    with pytest.raises(UserError, match="max_quarantined_share=0"):
        shop.night(enrich={"max_quarantined_share": 0.1})
    assert shop.rows()["p1", "classification"]["status"] == "enriched"
    assert (shop.folder / "runs" / "shop" / "enrichment.html").exists()


@pytest.mark.slow  # such rows are asked without a table, too
def test_row_that_kills_the_engine_is_the_only_one_lost(shop):
    shop.faults = {"kill_on": "scarf 21"}
    stats = shop.night(enrich={"max_quarantined_share": 1.0, "tasks": ["ner_tagging"]})
    assert (stats["num_new"], stats["num_quarantined"]) == (39, 1)
    assert [(row["product_id"], row["reason"]) for row in shop.quarantine()] == [("p21", "engine_killed")]


def test_empty_export_does_not_turn_the_table_into_tombstones(enriched_shop):
    shop = enriched_shop
    shop.products = []
    with pytest.raises(UserError, match="nothing was changed"):
        shop.night()
    assert {row["status"] for row in shop.rows().values()} == {"enriched", "empty"}


def test_missing_catalogue_is_said_before_the_table_is_touched(shop):
    with pytest.raises(UserError, match="no such file"):
        run_night(shop.config(catalog={"path": "elsewhere.jsonl"}), Model(None, "model"))
    assert not (shop.folder / "runs" / "shop" / "enriched").exists()


@pytest.mark.slow  # two nights; a table of other buckets has faster tests
def test_a_shop_that_has_outgrown_its_table_divides_it_anew(enriched_shop, monkeypatch):
    shop = enriched_shop
    before = shop.rows()
    monkeypatch.setattr(run, "BUCKET_BYTES", 1_000)
    night = shop.night()
    assert (night["num_inferred"], night["num_unchanged"]) == (0, 120)
    after = shop.rows()
    assert len({row["bucket"] for row in after.values()}) > 4 * len({row["bucket"] for row in before.values()})
    assert {key: {**row, "bucket": 0} for key, row in after.items()} == {
        key: {**row, "bucket": 0} for key, row in before.items()
    }
    shop.products[1] = {**shop.products[1], "name": "yellow scarf"}
    assert shop.night()["num_inferred"] == 2


def test_row_in_trouble_keeps_its_last_answer_and_mending_the_text_costs_nothing(enriched_shop):
    shop = enriched_shop
    before = shop.rows()["p1", "ner_tagging"]
    shop.products[1] = {**shop.products[1], "name": 5}
    assert shop.night()["num_inferred"] == 0
    row = shop.rows()["p1", "ner_tagging"]
    assert (row["status"], row["prediction"], row["prediction_key"]) == (
        "quarantined",
        before["prediction"],
        before["key"],
    )
    shop.products[1] = {**shop.products[1], "name": "red scarf 1"}
    night = shop.night()
    assert (night["num_inferred"], night["num_quarantined"], shop.quarantine()) == (0, 0, [])
    assert shop.rows()["p1", "ner_tagging"]["status"] == "enriched"


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("cut", r"20 of 40 products have left .* \(e\.g\. p20, p21, p22\), more than enrich\.max_deleted_share=0\.2"),
        ("prefixed", r"40 of 40 products have left"),
        ("renamed", r"ner_tagging: the question about 40 of 40 products is another than last night"),
        ("no reviews", r"summarization: the question about 20 of 40 products .*enrich\.max_changed_share=0\.4"),
        ("other labels", r"classification: the question about 40 of 40 products"),
        ("typed", r"24 of 120 rows of the input cannot be asked about.*enrich\.max_quarantined_share=0\.1"),
    ],
)
def test_broken_export_changes_nothing_and_says_what_it_broke(enriched_shop, breakage, message):
    shop = enriched_shop
    before = shop.rows()
    broken = {
        "cut": lambda: shop.products[:20],
        "prefixed": lambda: [{**row, "id": f"x{row['id']}"} for row in shop.products],
        "renamed": lambda: [{**row, "name": row["description"]} for row in shop.products],
        "no reviews": lambda: shop.products,
        "other labels": lambda: shop.products,
        "typed": lambda: [{**row, "name": 5} if number < 12 else row for number, row in enumerate(shop.products)],
    }
    shop.products = broken[breakage]()
    if breakage == "no reviews":
        shop.reviews = []
    catalog = {"path": "products.jsonl", "labels": ["Garden", "Home" if breakage == "other labels" else "Kitchen"]}
    with pytest.raises(UserError, match=message) as caught:
        shop.night(enrich={"max_changed_share": 0.4}, catalog=catalog)
    assert "nothing was changed" in str(caught.value)
    assert shop.rows() == before
    assert shop.quarantine() == []


def test_limit_that_is_raised_lets_it_through(enriched_shop):
    shop = enriched_shop
    shop.products = shop.products[:20]
    night = shop.night(enrich={"max_deleted_share": 1.0})
    assert (night["num_deleted"], night["num_unchanged"]) == (60, 60)


def test_product_on_a_line_that_cannot_be_read_did_not_leave(enriched_shop):
    shop = enriched_shop
    before = shop.rows()
    shop.products, lost = shop.products[:-1], shop.products[-1]
    shop.raw = json.dumps(lost)[:-20].encode() + b"\n"
    night = shop.night()
    assert (night["num_deleted"], night["num_held"], night["num_inferred"]) == (0, 3, 0)
    assert shop.rows() == before
    shop.raw = b""
    assert shop.night()["num_deleted"] == 3


def test_rows_of_a_task_that_is_asked_no_more_end_and_come_back_for_nothing(enriched_shop):
    shop = enriched_shop
    night = shop.night(enrich={"tasks": ["ner_tagging", "summarization"]})
    assert (night["num_deleted"], night["num_inferred"]) == (40, 0)
    assert {row["status"] for (_, task), row in shop.rows().items() if task == "classification"} == {"deleted"}
    night = shop.night()
    assert (night["num_new"], night["num_inferred"]) == (40, 0)


def test_every_engine_reads_the_table_after_three_nights(enriched_shop):
    shop = enriched_shop
    shop.products[5] = product(5, name="green hat")
    shop.night()
    del shop.products[6]
    shop.night()
    expected = sorted((product_id, task, row["status"]) for (product_id, task), row in shop.rows().items())
    uri = shop.config().table_uri
    names = ["product_id", "task", "status"]
    with duckdb.connect() as database:
        import_extension("delta", con=database)
        scanned = database.execute(f"select {', '.join(names)} from delta_scan(?)", [uri]).fetchall()
    tables = {
        "deltalake": DeltaTable(uri).to_pyarrow_table(),
        "pandas": pa.Table.from_pandas(DeltaTable(uri).to_pandas()[names]),
        "daft": daft.read_deltalake(uri).to_arrow(),
    }
    read = {
        name: sorted(zip(*(table[one].to_pylist() for one in names), strict=True)) for name, table in tables.items()
    }
    for name, rows in {**read, "duckdb": sorted(scanned)}.items():
        assert rows == expected, name


def test_rollback_brings_both_tables_back_and_costs_nothing(enriched_shop):
    shop = enriched_shop
    first, before = shop.statistics()["run_id"], shop.rows()
    shop.products[1] = product(1, name="green hat")
    shop.products[2] = {"id": "p2", "name": 5}
    shop.night(model="another")
    assert shop.quarantine()
    roll_back(shop.config(), first)
    assert shop.rows() == before
    assert shop.quarantine() == []
    shop.products[1], shop.products[2] = product(1), product(2)
    assert shop.night()["num_inferred"] == 0
    with pytest.raises(UserError, match=r"no run yesterday in its log; the last ones are .*rollback"):
        roll_back(shop.config(), "yesterday")


def test_erased_product_is_in_no_file_any_more(enriched_shop):
    shop = enriched_shop
    shop.products[1] = {"id": "p1", "name": "secret hat", "category": "Garden", "description": 7}
    shop.products[2] = product(2, name="blue hat")
    shop.night()
    others = {key: row for key, row in shop.rows().items() if key[0] != "p1"}
    folder = shop.folder / "runs" / "shop"
    foreign = folder / "enriched" / "task=ner_tagging" / "notes.parquet"
    foreign.write_text("p1")
    erased = erase_product(shop.config(), "p1")
    assert (erased.num_rows, erased.num_quarantined) == (3, 1)
    assert erased.num_old_files > 0
    assert shop.rows() == others
    assert shop.quarantine() == []
    files = [path for path in folder.rglob("part-*.parquet") if "enriched" in str(path)]
    assert not any("p1" in pq.read_table(path, partitioning=None)["product_id"].to_pylist() for path in files)
    assert all("secret" not in path.read_text() for path in folder.glob("enrichment.*"))
    assert foreign.exists()
    del shop.products[1]
    assert shop.night()["num_inferred"] == 0
    assert erase_product(shop.config(), "p1").num_rows == 0


def test_night_stops_at_its_budget_and_the_next_one_goes_on(shop):
    enrich = {"max_quarantined_share": 1.0, "max_generated_tokens": 60}
    shop.table = {"rows_per_file": 4, "commit_files": 1}
    shop.faults = {"rows_per_second": 200}
    with pytest.raises(BudgetSpentError, match=r"`enrich.max_generated_tokens` is 60\): \d+ rows are left") as caught:
        shop.night(enrich=enrich)
    assert caught.value.exit_status == 3
    first = shop.statistics()
    assert first["num_generated_tokens"] >= 60
    assert first["num_new"] + first["num_postponed"] == 120
    assert len(shop.rows()) == first["num_new"] < 120
    second = shop.night()
    assert (second["num_unchanged"], second["num_new"]) == (first["num_new"], 120 - first["num_new"])


def test_a_night_keeps_how_sure_the_model_was(enriched_shop):
    shop = enriched_shop
    assert {row["confidence"] for row in shop.rows().values()} == {None}
    shop.products[0] = product(0, name="blue hat")
    sure = shop.night(infer={"engine": "simulated", "confidence": True})
    known = [key for key, row in shop.rows().items() if row["confidence"] is not None]
    assert len(known) == sure["num_inferred"] > 0
    assert {product_id for product_id, _ in known} == {"p0"}
    assert all(0 < shop.rows()[key]["confidence"] <= 1 for key in known)
    del shop.products[1]
    assert shop.night()["num_inferred"] == 0
    assert [key for key, row in shop.rows().items() if row["confidence"] is not None] == known


def test_a_limit_that_cannot_be_counted_is_refused_before_the_table_is_touched(shop):
    with pytest.raises(UserError, match=r"`enrich\.max_cost` needs `enrich\.gpu_hour_price`"):
        shop.night(enrich={"max_cost": 1.0})
    assert shop.version() == -1


def test_dry_run_foretells_the_night_and_changes_nothing(enriched_shop):
    shop = enriched_shop
    shop.products[1] = product(1, name="green hat with a long brim")
    del shop.products[7]
    shop.products += [product(number) for number in (100, 101)]
    shop.write()
    before, version = shop.rows(), shop.version()
    foretold = estimate_night(shop.config(), Model(None, "model"))
    assert (shop.rows(), shop.version()) == (before, version)
    night = shop.night()
    assert foretold["questions"] == night["num_inferred"] == 6
    assert foretold["new"] == night["num_new"]
    assert foretold["changed"] == night["num_changed"]
    assert foretold["deleted"] == night["num_deleted"]
    assert foretold["input_tokens"] == pytest.approx(night["num_input_tokens"], rel=0.05)
    assert foretold["generated_tokens"] == pytest.approx(night["num_generated_tokens"], rel=0.5)
    assert foretold["refused"] is None


def test_dry_run_of_a_first_night_makes_no_table(shop):
    shop.write()
    foretold = estimate_night(shop.config(enrich={"gpu_hour_price": 2.0}), Model(None, "model"))
    assert (foretold["questions"], foretold["new"], foretold["seconds"], foretold["cost"]) == (100, 120, None, None)
    assert shop.version() == -1


def test_dry_run_of_a_broken_night_says_that_it_would_end(enriched_shop):
    shop = enriched_shop
    shop.products = shop.products[:10]
    shop.write()
    assert "more than enrich.max_deleted_share" in estimate_night(shop.config(), Model(None, "model"))["refused"]
