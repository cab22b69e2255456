"""Catalogues and reviews by columns: what is kept, why the rest is not, and that blocks and rows are read alike."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eshop_ray.config import ReviewsSection
from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.products import read_products
from eshop_ray.enrichment.columns import identify_place
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.scan import (
    REVIEW_ROWS,
    map_votes,
    product_rows,
    read_votes,
    scan_catalog,
    scan_reviews,
    to_product,
    to_review,
)
from eshop_ray.errors import UserError
from eshop_ray.exchange import Exchange
from eshop_ray.storage import Storage, StorageError
from tests.data import test_product_blocks as odd_files

COLUMNS = ("name", "description", "category")


class Shop:
    """A folder with a catalogue or a file of reviews, and what is read of it."""

    def __init__(self, folder, num_buckets=1):
        self.folder, self.num_buckets = folder, num_buckets
        (folder / "staging").mkdir()

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"path": str(path), "number": 3}

    def exchange(self, kind, schema):
        return Exchange(Storage(str(self.folder / "staging")), kind, schema, self.num_buckets)

    def read_catalog(self, name, content, names=COLUMNS, **options):
        """Rows in the order of the file, and what was counted."""
        products = self.exchange("products", product_rows(names))
        counts = scan_catalog(self.write(name, content), CatalogOptions(**options), names, products)
        return in_order(products.with_parts(counts.pop("parts"))), counts

    def read_reviews(self, name, content, **options):
        """Reviews, those that cannot be read, and what was counted."""
        products, reviews = self.exchange("products", product_rows(COLUMNS)), self.exchange("reviews", REVIEW_ROWS)
        counts = scan_reviews(self.write(name, content), ReviewsSection(**options), reviews, products)
        found = reviews.with_parts(counts.pop("parts")).read(0, self.num_buckets).to_pylist()
        good = sorted(found, key=lambda row: tuple(row.values()))
        return good, in_order(products.with_parts(counts.pop("bad_parts"))), counts


def in_order(exchange):
    rows = exchange.read(0, exchange.num_buckets).to_pylist()
    return sorted(rows, key=lambda row: (row["line"], row["element"]))


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


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
    row = to_product("f", 1, {"id": 7, "name": value, "description": "d"}, COLUMNS)
    assert (row["product_id"], row["field_name"], row["field_description"], row["field_category"]) == (
        *("7", None, "d", None),
    )
    assert json.loads(row["problems"]) == {"name": problem}


def test_row_without_trouble_names_none():
    assert to_product("f", 1, {"id": 7}, COLUMNS)["problems"] is None


def test_name_and_category_are_one_line_and_a_description_stays_as_it_is():
    row = to_product("f", 1, {"id": 7, "name": " a\n b\xa0c ", "category": "A\t> B", "description": " a \n"}, COLUMNS)
    assert (row["field_name"], row["field_category"], row["field_description"]) == ("a b c", "A > B", " a \n")


def test_column_of_a_task_of_ones_own_is_carried_numbers_as_text(shop):
    columns = ("brand", "price", "size", "category")
    row = {"id": "1", "price": 9.5, "size": [1], "brand": "Nordvik"}
    ((found,), _) = shop.read_catalog("p.jsonl", json_lines(row), columns)
    fields = {name: found[f"field_{name}"] for name in columns}
    assert fields == {"brand": "Nordvik", "price": "9.5", "size": None, "category": None}
    assert json.loads(found["problems"]) == {"size": "wrong_type"}


def test_columns_may_have_other_names_than_ours_and_those_of_ours_that_a_row_has(shop):
    row = {"sku": "1", "title": "t", "reason": "because", "file": "f"}
    columns = ("name", "reason", "file", "category")
    ((found,), _) = shop.read_catalog("p.jsonl", json_lines(row), columns, columns={"id": "sku", "name": "title"})
    assert (found["product_id"], found["field_name"], found["reason"], found["file"]) == ("1", "t", None, 3)
    assert (found["field_reason"], found["field_file"]) == ("because", "f")


def test_newest_by_tells_the_version(shop):
    row = {"sku": "1", "title": "t", "category": " A  b ", "changed": "2026-11-20"}
    options = {"columns": {"id": "sku", "name": "title"}, "newest_by": "changed"}
    ((found,), _) = shop.read_catalog("p.jsonl", json.dumps(row), **options)
    assert (found["product_id"], found["field_name"], found["field_category"]) == ("1", "t", "A b")
    assert found["version"] == datetime(2026, 11, 20, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"parent_asin": "p", "text": "a<br>b", "helpful_vote": 3}, ("p", "a b", 3.0)),
        ({"parent_asin": " p ", "title": "t", "text": ""}, ("p", "t", 0.0)),
        ({"parent_asin": 7, "title": "t", "text": None}, ("7", "t", 0.0)),
        ({"parent_asin": "p", "text": "<p> </p>", "title": "t\n\xa0u"}, ("p", "t u", 0.0)),
        ({"parent_asin": "p", "text": "x", "helpful_vote": "many"}, ("p", "x", 0.0)),
        ({"parent_asin": "p", "text": "x", "helpful_vote": float("nan")}, ("p", "x", 0.0)),
    ],
)
def test_review(shop, row, expected):
    told = to_review("f", 1, row, {})
    assert (told["product_id"], told["text"], told["votes"]) == expected
    ((found,), bad, _) = shop.read_reviews("r.jsonl", json_lines(row))
    assert ((found["product_id"], found["text"], found["votes"]), bad) == (expected, [])


VOTES = [
    *(("1,234", 1234), ("1.234.567", 1234567), ("1 234", 1234), ("1'234", 1234), ("7", 7), (" 7 ", 7), ("7.0", 7)),
    *(("1,23", 0), ("-3", 0), ("", 0), ("1e3", 0), ("9" * 400, 0), ("1" + "0" * 12, 0), ("1" + "0" * 11, 10**11)),
]


@pytest.mark.parametrize(("written", "votes"), VOTES)
def test_votes_as_people_write_them(written, votes):
    assert to_review("f", 1, {"parent_asin": "p", "text": "x", "helpful_vote": written}, {})["votes"] == votes


def test_votes_of_a_column_are_read_as_each_is():
    written = [text for text, _ in VOTES] * 2 + [None]
    votes = [float(number) for _, number in VOTES] * 2 + [0.0]
    assert map_votes(pa.array(written)).to_pylist() == votes
    numbers = [0, 5, -1, 10**12, 10**30]
    assert map_votes(pa.array(list(map(str, numbers)))).to_pylist() == list(map(read_votes, numbers))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "missing_id"),
        ({"parent_asin": "p"}, "missing_text"),
        ({"parent_asin": "p", "text": 5}, "wrong_type"),
        ({"parent_asin": "p", "title": "\ud800"}, "not_utf8"),
        ({"parent_asin": "p", "title": "x" * 100_001}, "too_long"),
        ({"parent_asin": "", "title": "x" * 100_001}, "missing_id"),
    ],
)
def test_review_that_cannot_be_read(shop, row, reason):
    assert to_review("f", 1, row, {})["reason"] == reason
    good, (bad,), counts = shop.read_reviews("r.jsonl", json_lines(row))
    assert (bad["reason"], good, counts) == (reason, [], {"num_rows": 0, "num_unreadable": 1})


def test_reviews_of_one_block_that_cannot_be_read_say_each_what_is_wrong_with_it(shop):
    rows = [
        {"parent_asin": "p", "text": "first"},
        {"parent_asin": "p", "text": "x" * 100_001},
        {"text": "of nothing"},
        {"parent_asin": "p", "text": "second"},
        {"parent_asin": "p", "text": " "},
        {"parent_asin": "p", "title": "x" * 100_001},
        {"parent_asin": "q", "text": "third"},
        {},
    ]
    good, bad, counts = shop.read_reviews("r.jsonl", json_lines(*rows))
    assert [(row["product_id"], row["text"]) for row in good] == [("p", "first"), ("p", "second"), ("q", "third")]
    reasons = {2: "too_long", 3: "missing_id", 5: "missing_text", 6: "too_long", 8: "missing_id"}
    assert {row["line"]: row["reason"] for row in bad} == reasons
    assert counts == {"num_rows": 3, "num_unreadable": 5}


def test_every_line_of_the_files_ends_in_a_bucket(tmp_path):
    shop = Shop(tmp_path, num_buckets=4)
    products = [{"id": f"p{number}", "name": "n", "category": f"C{number % 2}"} for number in range(50)]
    rows, counts = shop.read_catalog("c.jsonl", json_lines(*products) + "not json\n")
    assert counts == {"num_rows": 50, "num_unreadable": 1, "columns": ["category", "name"]}
    _, bad, counts = shop.read_reviews("r.jsonl", '{"parent_asin": "p1", "text": "x"}\n{}\n\\')
    assert counts == {"num_rows": 1, "num_unreadable": 2}
    assert sorted(row["product_id"] or row["reason"] for row in [*rows, *bad]) == sorted(
        [f"p{number}" for number in range(50)] + ["unreadable", "missing_id", "unreadable"]
    )


def test_products_and_their_reviews_meet_in_one_bucket_and_what_is_unreadable_goes_by_its_fingerprint(tmp_path):
    shop = Shop(tmp_path, num_buckets=4)
    ids = [f"p{number}" for number in range(20)]
    products, reviews = shop.exchange("products", product_rows(COLUMNS)), shop.exchange("reviews", REVIEW_ROWS)
    catalog = shop.write("c.jsonl", json_lines(*({"id": name} for name in ids)) + "3\n4\n5\n")
    told = json_lines(*({"parent_asin": name, "text": "x"} for name in ids), {"text": "x"})
    parts = scan_catalog(catalog, CatalogOptions(), COLUMNS, products)["parts"]
    report = scan_reviews({**shop.write("r.jsonl", told), "number": 4}, ReviewsSection(), reviews, products)
    products, reviews = products.with_parts([*parts, *report["bad_parts"]]), reviews.with_parts(report["parts"])
    found = []
    for bucket in range(4):
        rows = products.read(bucket).to_pylist()
        assert {bucket_of(row["product_id"] or row["fingerprint"], 4) for row in rows} <= {bucket}
        read = {row["product_id"] for row in rows if row["product_id"]}
        assert read == set(reviews.read(bucket)["product_id"].to_pylist())
        found += rows
    assert sorted(row["product_id"] for row in found if row["product_id"]) == sorted(ids)
    assert sorted((row["file"], row["line"]) for row in found if row["reason"]) == [(3, 21), (3, 22), (3, 23), (4, 21)]


def test_what_cannot_be_read_is_known_by_where_it_stands(shop):
    for content in (json_lines({"id": "a"}, {}, {"id": "b"}), '{"id": "a"}\n{}\nnot JSON\n'):
        rows, _ = shop.read_catalog("p.jsonl", content)
        (bad,) = [row for row in rows if row["line"] == 2]
        place = {"path": str(shop.folder / "p.jsonl"), "line": 2, "element": 0}
        assert bad["fingerprint"] == identify_place("unreadable", place)
        assert (bad["reason"], bad["message"]) == ("missing_id", "`id` is missing or no id")


def test_rows_that_share_a_line_are_told_apart(shop):
    rows, counts = shop.read_catalog("c.json", '[{"id": "p1"}, {}, 3, {"id": "p2"}, {}]')
    assert (counts["num_rows"], counts["num_unreadable"]) == (2, 3)
    bad = [row for row in rows if row["reason"]]
    assert [row["element"] for row in bad] == [1, 2, 4]
    assert len({row["fingerprint"] for row in bad}) == 3


def test_rows_that_come_one_by_one_are_held_no_longer_than_they_fit(shop, monkeypatch):
    rows = [{"id": f"p{number}", "name": number} for number in range(20)]
    expected = shop.read_catalog("p.jsonl", json_lines(*rows, {}, 3))
    assert len(expected[0]) == 22
    monkeypatch.setattr("eshop_ray.enrichment.scan.BUFFER_ROWS", 7)
    assert shop.read_catalog("p.jsonl", json_lines(*rows, {}, 3)) == expected
    monkeypatch.setattr("eshop_ray.enrichment.scan.BUFFER_CHARACTERS", 3)
    monkeypatch.setattr("eshop_ray.exchange.PART_BYTES", 1)
    assert shop.read_catalog("p.jsonl", json_lines(*rows, {}, 3)) == expected


def by_rows(patch):
    """Close the road by blocks."""
    module = "eshop_ray.enrichment.scan"
    patch.setattr(
        f"{module}.read_product_blocks", lambda stream, path, options, _: read_products(stream, path, options)
    )
    patch.setattr(f"{module}.read_text_blocks", lambda stream, path, options, *_: read_rows(stream, path, options))


def test_well_formed_files_are_read_without_a_row_of_python(shop, monkeypatch):
    def refuse(*_):
        raise AssertionError("a row")

    for name in ("to_product", "to_review"):
        monkeypatch.setattr(f"eshop_ray.enrichment.scan.{name}", refuse)
    rows = [{"id": number, "parent_asin": f"p{number}", "text": "x", "name": f"s {number}"} for number in range(500)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, shop.folder / "made.parquet")
    files = {
        "p.jsonl": json_lines(*rows),
        "p.csv": "\n".join(["id,parent_asin,text,name", *(",".join(map(str, row.values())) for row in rows)]),
        "p.parquet": (shop.folder / "made.parquet").read_bytes(),
    }
    for name, content in files.items():
        assert len(shop.read_catalog(name, content)[0]) == 500
        assert len(shop.read_reviews(name, content)[0]) == 500


MAX_CHARACTERS = 50


def read_both(read, content, name, num_bytes, **options):
    """What is read by blocks of so many bytes, and row by row."""
    found = []
    for road in ("blocks", "rows"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("eshop_ray.enrichment.scan.MAX_CHARACTERS", MAX_CHARACTERS)
            # The number of a bucket costs more than all else here.
            patch.setattr(
                "eshop_ray.enrichment.placing.place_values", lambda values, _: np.zeros(len(values[0]), np.int64)
            )
            odd_files.blocks_of(patch, num_bytes)
            if road == "rows":
                by_rows(patch)
            try:
                found.append(read(name, content, **options))
            except StorageError:
                raise
            except UserError as error:
                found.append(str(error))
    return found


fuzz = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.sampled_from(odd_files.BLOCK_SIZES)


@fuzz
@given(odd_files.json_files(), sizes, odd_files.options)
@example(
    b'{"id": "a", "name": "b\xc2\xa0\xc2\xa0c"}\n{"id": "b", "name": "' + b"x" * 51 + b'"}\n{"name": "c"}', 4 << 20, {}
)
def test_catalogue_of_json_lines_is_the_same_by_blocks_and_by_rows(shop, content, num_bytes, options):
    by_blocks, row_by_row = read_both(shop.read_catalog, content, "p.jsonl", num_bytes, **options)
    assert by_blocks == row_by_row


@fuzz
@given(odd_files.csv_files(), sizes, odd_files.options)
def test_catalogue_of_a_table_is_the_same_by_blocks_and_by_rows(shop, content, num_bytes, options):
    by_blocks, row_by_row = read_both(shop.read_catalog, content, "p.csv", num_bytes, **options)
    assert by_blocks == row_by_row


@pytest.mark.parametrize("name", odd_files.PARQUET)
def test_catalogue_and_reviews_of_parquet_are_the_same_by_blocks_and_by_rows(shop, name):
    content = odd_files.parquet(odd_files.PARQUET[name])
    by_blocks, row_by_row = read_both(shop.read_catalog, content, "p.parquet", 1)
    assert by_blocks == row_by_row
    columns = {"parent_asin": "id", "text": "name", "title": "description"}
    by_blocks, row_by_row = read_both(shop.read_reviews, content, "r.parquet", 1, columns=columns)
    assert by_blocks == row_by_row


REVIEW_NAMES = ("parent_asin", "text", "title", "helpful_vote")
texts = st.one_of(odd_files.texts, st.sampled_from(["", " ", "<p></p>", "x" * (MAX_CHARACTERS + 1), "good", "warm"]))
votes = st.one_of(st.integers(-3, 2000), st.sampled_from([None, *(text for text, _ in VOTES), 10**12, 10**30, "\xa07"]))
product_ids = st.one_of(odd_files.id_texts, st.sampled_from(["a", "b", 7, "7.0", None]))


def reviews_of(ids, texts, votes):
    columns = dict(zip(REVIEW_NAMES, (ids, texts, texts, votes), strict=True))
    return st.fixed_dictionaries({}, optional={**columns, "other": odd_files.odd_values})


plain_reviews = reviews_of(product_ids, st.one_of(st.none(), texts), votes)
odd_reviews = reviews_of(
    st.one_of(product_ids, odd_files.odd_values), st.one_of(texts, odd_files.odd_values), odd_files.odd_values
)
review_columns = st.sampled_from([{}, {}, {"text": "title", "title": "text"}, {"title": "text"}, {"text": "other"}])


@fuzz
@given(odd_files.json_files(plain_reviews, odd_reviews), sizes, review_columns)
@example(b'{"parent_asin": "a", "text": "' + b"x" * 51 + b'"}\n{"text": "b"}\n{"parent_asin": "c"}', 4 << 20, {})
def test_reviews_of_json_lines_are_the_same_by_blocks_and_by_rows(shop, content, num_bytes, columns):
    by_blocks, row_by_row = read_both(shop.read_reviews, content, "r.jsonl", num_bytes, columns=columns)
    assert by_blocks == row_by_row


headers = st.permutations([*REVIEW_NAMES, "other"]).flatmap(
    lambda names: st.integers(1, 5).map(lambda size: names[:size])
)


@fuzz
@given(odd_files.csv_files(headers), sizes, review_columns)
def test_reviews_of_a_table_are_the_same_by_blocks_and_by_rows(shop, content, num_bytes, columns):
    by_blocks, row_by_row = read_both(shop.read_reviews, content, "r.csv", num_bytes, columns=columns)
    assert by_blocks == row_by_row
