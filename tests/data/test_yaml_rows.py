"""YAML as shops write it, and as nobody should."""

import io
import time

import pytest

from eshop_ray.data.formats.yaml_rows import read_yaml
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def read(text, records=None):
    return list(read_yaml(io.BytesIO(text.encode()), "shop.yaml", records))


def test_what_only_looks_like_a_number_stays_text():
    text = "- {id: 007, name: No, size: 12:30, date: 2024-01-02, code: 0x10, price: 9.5, stock: 3, sold: true, left: ~}"
    assert read(text) == [
        (
            1,
            {
                "id": "007",
                "name": "No",
                "size": "12:30",
                "date": "2024-01-02",
                "code": "0x10",
                "price": 9.5,
                "stock": 3,
                "sold": True,
                "left": None,
            },
        )
    ]


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("products: [{id: a}, {id: b}]\nother: [{id: x}]", None),
        ("other: [{id: x}]\nshop: {stock: [{id: a}, {id: b}]}", "shop.stock"),
        ("x: {one: {list: [{id: a}]}, two: {list: [{id: b}]}, three: 5}", "x.*.list"),
    ],
)
def test_rows_within_a_document(text, records):
    assert [row[1]["id"] for row in read(text, records)] == ["a", "b"]


def test_lines_are_told():
    rows = read("- {id: a}\n\n- 5\n- id: b\n  size: !!int x\n- {id: c}\n")
    assert [row.line if isinstance(row, Malformed) else row for row in rows] == [
        (1, {"id": "a"}),
        3,
        4,
        (6, {"id": "c"}),
    ]


def test_aliases_that_make_much_of_little_are_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(UserError, match="MAX_EXPANDED_NODES"):
        read("\n".join([*lines, "products: [{id: *a11}]"]))
    assert time.monotonic() - started < 1


def test_merged_mappings_count_too():
    lines = ["m0: &m0 {k0: v, k1: v}"]
    lines += [f"m{level}: &m{level} {{<<: [{', '.join([f'*m{level - 1}'] * 9)}]}}" for level in range(1, 12)]
    with pytest.raises(UserError, match="MAX_EXPANDED_NODES"):
        read("\n".join([*lines, "products: [*m11]"]))


def test_usual_aliases_are_read():
    assert read("base: &base {brand: N}\nproducts:\n- {<<: *base, id: a}\n- {<<: *base, id: b}\n") == [
        (3, {"brand": "N", "id": "a"}),
        (4, {"brand": "N", "id": "b"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- &a [*a]", "holds itself"),
        ("a: b", "expected a YAML list of products, found the keys a"),
        ("5", "expected a YAML list of products, found none"),
        ("- a: [", "not valid YAML"),
        ("[" * 5000, "not valid YAML|nested too deeply"),
        ("", "expected a YAML list"),
    ],
)
def test_what_is_no_list_of_rows_is_one_message(text, message):
    with pytest.raises(UserError, match=message):
        read(text)
