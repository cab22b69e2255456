"""Products from the columns of any file."""

import io
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.products import explain_missing, guess_columns, look_up, read_id, read_products
from eshop_ray.schema import Malformed


@pytest.mark.parametrize(
    ("value", "product_id"),
    [
        (7, "7"),
        (7.0, "7"),
        ("7.0", "7"),
        ("7", "7"),
        (Decimal("7"), "7"),
        ("007", "007"),
        (" a ", "a"),
        ("1.10", "1.10"),
        (7.5, "7.5"),
        (1e300, "1e+300"),
        (10**30, "1" + 30 * "0"),
        (None, None),
        (True, None),
        ("", None),
        (float("nan"), "nan"),
        (["a"], None),
        ("\ud800", None),
        ("x" * 501, None),
    ],
)
def test_numbers_are_one_id_and_zeros_before_them_count(value, product_id):
    assert read_id(value) == product_id


ROW = {"a": "x", "b": {"c": "y", "d": [{"e": "1"}, {"e": "2"}]}, "f": ["p", "q"], "g.h": "z"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("a", "x"),
        ("b.c", "y"),
        ("b.d.e", ["1", "2"]),
        ("b.d.1.e", "2"),
        ("g.h", "z"),
        (("a", "b.c", "none", "f"), "x\ny\np\nq"),
        ("none", None),
        ("a.b", None),
        (("none",), None),
    ],
)
def test_values_are_looked_up_by_path_and_joined(column, value):
    assert look_up(ROW, column) == value


def test_a_column_that_names_nothing_is_refused():
    with pytest.raises(ValidationError, match="`name` names no column"):
        CatalogOptions(columns={"name": []})


@pytest.mark.parametrize(
    ("found", "guess"),
    [
        (["sku", "title", "category"], {"id": "sku", "name": "title"}),
        (
            ["Product-ID", "Product Name", "Kategorie"],
            {"id": "Product-ID", "name": "Product Name", "category": "Kategorie"},
        ),
        (["id", "nmae", "category"], {"name": "nmae"}),
        (["id", "name", "category", "description"], {}),
        (["x", "y"], {}),
    ],
)
def test_columns_with_other_names_are_guessed(found, guess):
    assert guess_columns(found) == guess


def test_a_missing_column_comes_with_its_likely_name():
    assert "`catalog.columns`, e.g. {name: title}" in str(explain_missing("f", ["name"], ["id", "title"], "catalog"))
    shopify = ["Handle", "Title", "Body (HTML)"]
    assert "`catalog.format: shopify`" in str(explain_missing("f", ["name"], shopify, "catalog"))


def test_values_of_parquet_are_as_json_would_have_them():
    key = uuid.UUID(int=5)
    columns = {
        "id": pa.array([Decimal("7.00"), Decimal("8.00")], pa.decimal128(10, 2)),
        "key": pa.array([key.bytes, None], pa.binary(16)),
        "name": pa.array([b"Pan", b"Cup"], pa.binary()),
        "seen": pa.array([0, 86_400_000], pa.timestamp("ms")),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    sink.seek(0)
    rows = [row[1] for row in read_products(sink, "country=DE/size=a%2Fb/p.parquet", CatalogOptions())]
    assert rows[0] == {
        "id": 7,
        "key": str(key),
        "name": "Pan",
        "seen": "1970-01-01T00:00:00",
        "country": "DE",
        "size": "a/b",
    }
    assert rows[1]["key"] is None


def test_texts_come_without_markup():
    row = {"id": "p", "name": "Pan &amp; Lid", "description": ["<p>Cast</p>", "iron"], "category": "a"}
    (found,) = read_products(io.BytesIO(json.dumps(row).encode()), "p.jsonl", CatalogOptions())
    assert not isinstance(found, Malformed)
    assert (found[1]["name"], found[1]["description"]) == ("Pan & Lid", ["Cast", "iron"])
