"""Raw rows of catalogues and reviews: what is kept, and why the rest is not."""

import json
from datetime import UTC, datetime

import pytest

from eshop_ray.config import ReviewsSection
from eshop_ray.config.files import CatalogOptions
from eshop_ray.enrichment.scan import bucket_of, scan_catalog, scan_reviews, to_product, to_review
from eshop_ray.enrichment.shuffle import Shuffle

COLUMNS = ("name", "description", "category")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"name": "x"}, "missing_id"),
        ({"id": None}, "missing_id"),
        ({"id": ["a"]}, "missing_id"),
        ({"id": True}, "missing_id"),
        ({"id": "\ud800"}, "missing_id"),
        ({"id": "x" * 501}, "missing_id"),
    ],
)
def test_row_without_an_id_cannot_be_read(row, reason):
    assert to_product("f", 3, row, COLUMNS)["reason"] == reason


@pytest.mark.parametrize(
    ("value", "problem"),
    [(5, "wrong_type"), (["a"], "wrong_type"), ("x" * 100_001, "too_long"), ("\udfff", "not_utf8")],
)
def test_faulty_field_is_named_and_not_carried(value, problem):
    fields = json.loads(to_product("f", 1, {"id": 7, "name": value, "description": "d"}, COLUMNS)["fields"])
    assert fields == {"name": None, "description": "d", "category": None, "problems": {"name": problem}}


def test_column_of_a_task_of_ones_own_is_carried_numbers_as_text():
    row = to_product("f", 1, {"id": "1", "price": 9.5, "brand": "Nordvik"}, ("brand", "price", "category"))
    fields = {"brand": "Nordvik", "price": "9.5", "category": None, "problems": {}}
    assert json.loads(row["fields"]) == fields


def test_columns_may_have_other_names(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"sku": "1", "title": "t", "category": " A  b ", "changed": "2026-11-20"}))
    options = CatalogOptions(columns={"id": "sku", "name": "title"}, newest_by="changed")
    shuffle = Shuffle(str(tmp_path / "products"))
    counts = scan_catalog({"path": str(path), "number": 0}, options, COLUMNS, shuffle, 1)
    (row,) = shuffle.read([0])
    assert (row["product_id"], json.loads(row["fields"])["name"], counts["categories"]) == ("1", "t", ["A b"])
    assert row["version"] == datetime(2026, 11, 20, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"parent_asin": "p", "text": "a<br>b", "helpful_vote": 3}, {"product_id": "p", "text": "a b", "votes": 3.0}),
        ({"parent_asin": "p", "title": "t", "text": ""}, {"product_id": "p", "text": "t", "votes": 0.0}),
        ({"parent_asin": "p", "text": "x", "helpful_vote": "many"}, {"product_id": "p", "text": "x", "votes": 0.0}),
        (
            {"parent_asin": "p", "text": "x", "helpful_vote": float("nan")},
            {"product_id": "p", "text": "x", "votes": 0.0},
        ),
    ],
)
def test_review(row, expected):
    assert to_review("f", 1, row, {}) == expected


@pytest.mark.parametrize(
    ("written", "votes"),
    [("1,234", 1234), ("1.234.567", 1234567), ("7", 7), (" 7 ", 7), ("7.0", 7), ("1,23", 0), ("-3", 0), ("", 0)],
)
def test_votes_as_people_write_them(written, votes):
    assert to_review("f", 1, {"parent_asin": "p", "text": "x", "helpful_vote": written}, {})["votes"] == votes


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "missing_id"),
        ({"parent_asin": "p"}, "missing_text"),
        ({"parent_asin": "p", "text": 5}, "wrong_type"),
    ],
)
def test_review_that_cannot_be_read(row, reason):
    assert to_review("f", 1, row, {})["reason"] == reason


def test_every_line_of_the_files_ends_in_a_bucket(tmp_path):
    products = [{"id": f"p{number}", "name": "n", "category": f"C{number % 2}"} for number in range(50)]
    catalog, reviews = tmp_path / "c.jsonl", tmp_path / "r.jsonl"
    catalog.write_text("\n".join(map(json.dumps, products)) + "\nnot json\n")
    reviews.write_text('{"parent_asin": "p1", "text": "x"}\n{}\n\xff'.replace("\xff", "\\"))
    spills = [Shuffle(str(tmp_path / name)) for name in ("products", "reviews")]
    counts = scan_catalog({"path": str(catalog), "number": 0}, CatalogOptions(), COLUMNS, spills[0], 4)
    assert counts == {"num_rows": 50, "num_unreadable": 1, "categories": ["C0", "C1"]}
    assert scan_reviews({"path": str(reviews), "number": 0}, ReviewsSection(), spills[1], spills[0], 4) == {
        "num_rows": 1,
        "num_unreadable": 2,
    }
    found = [row for bucket in range(4) for row in spills[0].read([bucket])]
    assert sorted(row["product_id"] or row["reason"] for row in found) == sorted(
        [f"p{number}" for number in range(50)] + ["unreadable", "missing_id", "unreadable"]
    )
    assert all(
        bucket_of("p7", 4) == bucket
        for bucket in range(4)
        for row in spills[0].read([bucket])
        if row["product_id"] == "p7"
    )


def test_rows_that_share_a_line_are_told_apart(tmp_path):
    catalog = tmp_path / "c.json"
    catalog.write_text('[{"id": "p1"}, {}, 3, {"id": "p2"}, {}]')
    shuffle = Shuffle(str(tmp_path / "products"))
    counts = scan_catalog({"path": str(catalog), "number": 0}, CatalogOptions(), COLUMNS, shuffle, 1)
    assert (counts["num_rows"], counts["num_unreadable"]) == (2, 3)
    bad = [row for row in shuffle.read([0]) if row["reason"]]
    assert [row["element"] for row in bad] == [1, 2, 4]
    assert len({row["fingerprint"] for row in bad}) == 3
