"""Products by columns: whatever a file holds, its blocks are what is read of it row by row."""

import csv
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eshop_ray.config.files import CatalogOptions, FileOptions
from eshop_ray.data.formats.reader import read_rows, read_text_blocks
from eshop_ray.data.formats.text_blocks import TextBlock
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.product_blocks import (
    clean_column,
    map_distinct,
    normalize_ids,
    read_product_blocks,
    squeeze_column,
)
from eshop_ray.data.products import read_id, read_products
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed

NAMES = ("name", "description", "category")
COLUMNS = ("id", *NAMES)
BLOCK_SIZES = (1, 20, 60, 200, 4 << 20)


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def blocks_of(patch, num_bytes):
    for module in ("json_text", "table_blocks"):
        patch.setattr(f"eshop_ray.data.formats.{module}.BLOCK_BYTES", num_bytes)


def find_blocks(content, path="p.jsonl", names=NAMES, **options):
    return list(read_product_blocks(io.BytesIO(content), path, CatalogOptions(**options), names))


def read_all(content, path, names=NAMES, **options):
    """Rows by columns and by themselves, both as (line, columns); trouble as (line, reason)."""
    found = []
    for one in find_blocks(content, path, names, **options):
        if isinstance(one, TextBlock):
            columns = {name: values.to_pylist() for name, values in one.columns.items()}
            assert {len(values) for values in columns.values()} <= {len(one.lines)}
            places = enumerate(one.lines.tolist())
            found += [(line, {name: columns[name][place] for name in columns}) for place, line in places]
        else:
            found.append(one)
    return [tell(one, names) for one in found]


def read_by_row(content, path, names=NAMES, **options):
    rows = read_products(io.BytesIO(content), path, CatalogOptions(**options))
    return [tell(one, names) for one in rows]


def tell(one, names):
    if isinstance(one, Malformed):
        return one.line, one.reason
    values = {name: "nan" if is_nan(one[1].get(name)) else one[1].get(name) for name in names}
    return one[0], {"id": read_id(one[1].get("id")), **values}


def is_nan(value):
    return isinstance(value, float) and math.isnan(value)


def or_refusal(read, *arguments, **options):
    try:
        return read(*arguments, **options)
    except UserError as error:
        return str(error)


def is_block(found):
    return [isinstance(one, TextBlock) for one in found]


ROWS = [{"id": f"p{number}", "name": f"scarf {number}", "category": "Toys", "other": [number]} for number in range(3)]


def test_lines_of_text_are_one_block_of_the_wanted_columns():
    (block,) = find_blocks(json_lines(*ROWS), names=("name", "brand"))
    assert {name: values.to_pylist() for name, values in block.columns.items()} == {
        "id": ["p0", "p1", "p2"],
        "name": ["scarf 0", "scarf 1", "scarf 2"],
        "brand": [None, None, None],
    }
    assert block.lines.tolist() == [1, 2, 3]


def test_a_table_is_a_block_of_the_columns_that_it_has():
    content = b'id,other,name\np0,x,"scarf,\nred"\n"p1",,\n'
    (block,) = find_blocks(content, "p.csv")
    columns = {name: values.to_pylist() for name, values in block.columns.items()}
    assert columns == {"id": ["p0", "p1"], "name": ["scarf,\nred", ""]}
    assert block.lines.tolist() == [2, 4]


def test_columns_are_called_by_our_names():
    content = json_lines({"sku": 7, "title": "a &amp; b", "name": "not this", "category": "Home > Pans"})
    (block,) = find_blocks(content, columns={"id": "sku", "name": "title", "color": "color"}, category="leaf")
    assert {name: values.to_pylist() for name, values in block.columns.items()} == {
        "id": ["7"],
        "name": ["a & b"],
        "description": [None],
        "category": ["Pans"],
    }


def test_columns_may_change_places():
    content = json_lines({"id": "a", "name": "long", "description": "short"})
    (block,) = find_blocks(content, columns={"name": "description", "description": "name"})
    assert (block.columns["name"].to_pylist(), block.columns["description"].to_pylist()) == (["short"], ["long"])


@pytest.mark.parametrize("num_bytes", [1, 30, 100, 1000])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_blocks_are_cut_between_lines_and_their_lines_are_counted_on(monkeypatch, num_bytes, ending):
    blocks_of(monkeypatch, num_bytes)
    rows = [{"id": f"p{number}", "name": "x" * number} for number in range(40)]
    found = find_blocks(json_lines(*rows).replace(b"\n", ending.encode())[: -len(ending)])
    assert all(is_block(found))
    assert len(found) > 1 or num_bytes == 1000
    assert [name for block in found for name in block.columns["id"].to_pylist()] == [row["id"] for row in rows]
    assert np.concatenate([block.lines for block in found]).tolist() == list(range(1, 41))


@pytest.mark.parametrize(
    "odd",
    [
        *(b'{"id": "x", "name": 5}', b'{"id": 7.5}', b'{"id": true}', b'{"id": "x", "description": ["a"]}', b"{}}"),
        *(b"not JSON", b"", b"null", b'{"id": "x", "name": "\\ud800"}', b'{"id": NaN}', b'{"id": "\xff"}'),
        b'{"id": ' + b"1" * 4301 + b"}",  # more digits than Python reads
    ],
    ids=lambda odd: repr(odd)[:24],
)
def test_only_a_block_with_something_odd_is_read_row_by_row(monkeypatch, odd):
    blocks_of(monkeypatch, 300)
    lines = [json.dumps({"id": f"p{number}", "name": "scarf"}).encode() for number in range(100)]
    lines[50] = odd
    content = b"\n".join(lines)
    found = find_blocks(content)
    assert is_block(found).count(False) < 15
    assert is_block(found).count(True) > 8
    assert read_all(content, "p.jsonl") == read_by_row(content, "p.jsonl")


@pytest.mark.parametrize(
    ("path", "content", "options"),
    [
        ("p.jsonl", json_lines(*ROWS), {"newest_by": "changed"}),
        ("p.jsonl", json_lines(*ROWS), {"columns": {"name": "details.name"}}),
        ("p.jsonl", json_lines(*ROWS), {"columns": {"name": ("name", "category")}}),
        ("p.jsonl", json_lines(*ROWS), {"columns": {"name": "category"}}),
        ("country=DE/p.jsonl", json_lines(*ROWS), {}),
        ("name=scarf/p.csv", b"id,category\np0,Toys\n", {}),
        ("p.json", json.dumps(ROWS).encode(), {}),
        ("p.json", json.dumps({"products": ROWS}).encode(), {}),
        ("p.jsonl", json_lines(*ROWS).decode().encode("utf-16"), {}),
        ("p.xml", b"<rss><item><id>p0</id><name>scarf</name></item></rss>", {}),
        ("p.yaml", b"- {id: p0, name: scarf}\n", {}),
    ],
)
def test_what_has_no_plain_columns_is_read_row_by_row(path, content, options):
    found = find_blocks(content, path, **options)
    assert found
    assert not any(is_block(found))
    assert read_all(content, path, **options) == read_by_row(content, path, **options)


@pytest.mark.parametrize("name", ['size "cm"', "größe", "back\\slash", "a b", "_0", "type", "'"])
@pytest.mark.parametrize("path", ["p.jsonl", "p.csv"])
def test_columns_of_a_file_may_have_any_name(name, path):
    row = {name: "5", "id": "p0", "name": "x"}
    content = json_lines(row)
    if path == "p.csv":
        stream = io.StringIO(newline="")
        csv.writer(stream).writerows([row, row.values()])
        content = stream.getvalue().encode()
    for options in ({"columns": {"description": name}}, {"columns": {"id": name}}):
        assert read_all(content, path, **options) == read_by_row(content, path, **options)
    assert read_all(content, path, (name,)) == read_by_row(content, path, (name,))


def test_a_line_beyond_the_limit_costs_itself_in_blocks_of_any_size(monkeypatch):
    monkeypatch.setattr("eshop_ray.data.formats.json_text.MAX_RECORD_CHARACTERS", 1000)
    content = json_lines(ROWS[0], {**ROWS[1], "other": "x" * 5000}, ROWS[2])
    for num_bytes in (10, 300, 5000, 1 << 20):
        blocks_of(monkeypatch, num_bytes)
        found = read_all(content, "p.jsonl")
        assert [one[0] for one in found] == [1, 2, 3]
        assert "MAX_RECORD_CHARACTERS" in found[1][1]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\n\n", b"\xef\xbb\xbf", b'{"id": "a"}', b'\xef\xbb\xbf{"id": "a"}\n{}']
)
def test_files_of_little_or_nothing(content):
    assert read_all(content, "p.jsonl") == read_by_row(content, "p.jsonl")
    assert or_refusal(read_all, content, "p.csv") == or_refusal(read_by_row, content, "p.csv")


JOINED = (
    b'{"id": "a"}{"id": "b"}',
    b'{"id": "a"} {"id": "b"}',
    b'{"id": "a"}\r{"id": "b"}',
    b'{"id":\n"a"}{"id": "b"}',
)


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("rest", [b"", b"\n", b"\n\n", b"\n\n\n", b'\n{"id": "c"}\n\n'])
def test_several_objects_of_a_line_are_not_taken_for_lines(joined, rest):
    """Nor are blank lines that make up for them in number."""
    content = b'{"id": "z"}\n' + joined + rest
    assert read_all(content, "p.jsonl") == read_by_row(content, "p.jsonl")


UNREAD = (
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'{"\xff": 1}',
    b"1e999",
    b"NaN",
    b'"\\ud800"',
    b'"\\q"',
    b"[" * 2000,
)


@pytest.mark.parametrize("value", UNREAD, ids=repr)
def test_trouble_in_a_column_that_is_not_read_is_told_alike(value):
    content = json_lines(ROWS[0]) + b'{"id": "x", "name": "x", "other": ' + value + b"}\n" + json_lines(ROWS[2])
    assert read_all(content, "p.jsonl") == read_by_row(content, "p.jsonl")


spaces = st.sampled_from(
    [" ", "\t", "\n", "\x0b", "\x0c", "\r", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028", "\u3000"]
)
markup = st.sampled_from(["<p>", "<br>", "</b>", "<!--", "<script>", "&amp;", "&nbsp;", "&#xD800;", "&#0;", "&", "<3"])
pieces = st.one_of(
    spaces, markup, st.text(st.characters(codec="utf-8"), max_size=4), st.sampled_from(["a", "漢", " > "])
)
plain_texts = st.lists(pieces, max_size=5).map("".join)
odd_ids = [
    "",
    " ",
    "7",
    "7.0",
    "7.00",
    "07",
    " 7.0",
    "7.0\n",
    "7.0x",
    "\u0667.0",
    "é",
    "\xa0",
    "a\x00b",
    "\x7f",
    "x" * 500,
    "x" * 501,
]
id_texts = st.one_of(
    st.sampled_from([*odd_ids, "a", "b", f" {'x' * 500} ", "é" * 500, "é" * 501, "\U0001f600" * 501]), plain_texts
)


def column_of(values):
    return st.lists(st.one_of(st.none(), values), max_size=8)


@settings(max_examples=40, deadline=None)
@given(column_of(id_texts))
@example([*odd_ids, None])
def test_ids_of_a_column_are_read_as_each_is(values):
    expected = [None if value is None else read_id(value) for value in values]
    assert normalize_ids(pa.array(values, pa.string())).to_pylist() == expected


@settings(deadline=None)
@given(column_of(plain_texts))
@example(["a\xa0b", "a\x0bb", "a\x1cb", "a\x85b", "\u2003a", "a\u3000", "a  b", " a", "a ", "a\tb", "a\nb", "", None])
def test_texts_of_a_column_are_squeezed_as_each_is(values):
    expected = [None if value is None else " ".join(value.split()) for value in values]
    assert squeeze_column(pa.array(values, pa.string())).to_pylist() == expected


@settings(deadline=None)
@given(column_of(plain_texts))
def test_texts_of_a_column_lose_their_markup_as_each_does(values):
    expected = [None if value is None else to_plain_text(value) for value in values]
    assert clean_column(pa.array(values, pa.string())).to_pylist() == expected


def test_each_distinct_text_is_mapped_once():
    seen = []
    made = map_distinct(pa.array(["a", None, "b", "a"]), lambda text: seen.append(text) or text.upper())
    assert (made.to_pylist(), seen) == (["A", None, "B", "A"], ["a", "b"])


texts = st.one_of(plain_texts, st.sampled_from(["Home > Pans > Iron", ">", "red scarf", "x" * 60]))
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["\ud800", ["a", "<b>b"], [], ["a", 1], {"a": "b"}, 10**30, -(2**63), 2**64, 1e16, 1e22, -0.0]),
)
id_numbers = st.one_of(st.integers(-5, 5), st.sampled_from([10**15, 10**16, 10**30, 2**63, 2**64, -(2**64), 7.0, 1e16]))


def rows_of(ids, values, names=NAMES):
    optional = {**dict.fromkeys(names, values), "other": odd_values}
    return st.fixed_dictionaries({}, optional={"id": ids, **optional})


plain_rows = rows_of(st.one_of(id_texts, id_numbers.filter(lambda value: isinstance(value, int))), texts)
odd_rows = rows_of(st.one_of(id_texts, id_numbers, odd_values), st.one_of(texts, texts, odd_values))
junk_lines = st.sampled_from(
    [
        *(
            b"",
            b" ",
            b"\r",
            b"\x0b",
            b"{}",
            b"null",
            b"3",
            b"[1]",
            b'"a"',
            b"not JSON",
            b'{"id": "a"',
            b'{"id":',
            b'"a"}',
        ),
        *(b"\xff", b'{"id": "\xff"}', b'{"id": "\xed\xa0\x80"}', b'{"id": NaN}', b'{"id": -0}', b'{"id": 7e0}'),
        *(
            b'\xef\xbb\xbf{"id": "mark"}',
            b'{"id": "a", "id": "b"}',
            b'{"id": 1, "id": "b"}',
            b'{"\\u0069d": "escaped"}',
        ),
        *(
            b'{"id": "a", "name": "\\ud83d\\ude00"}',
            b'{"id": "a\x00"}',
            b'{"id": "x"},',
        ),
        *JOINED,
        *(b'{"id": "u", "other": ' + value + b"}" for value in UNREAD),
    ]
)


def to_line(row, is_ascii):
    return json.dumps(row, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")


def json_files(plain=plain_rows, odd=odd_rows):
    """Mostly lines as they should be, so that there are blocks."""
    good = st.builds(to_line, plain, st.booleans())
    line = st.one_of(good, good, good, st.builds(to_line, odd, st.booleans()), junk_lines)
    lines = st.one_of(st.lists(good, max_size=8), st.lists(line, max_size=8))
    return st.builds(lambda end, lines, tail: end.join(lines) + tail, st.sampled_from([b"\n", b"\r\n"]), lines, tails)


tails = st.sampled_from([b"", b"\n", b"\n\n", b"\r\n", b" "])
options = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from(["leaf", 1, 2]),
        "columns": st.sampled_from([{"name": "description", "description": "name"}, {"id": "name", "name": "id"}]),
    },
)


@settings(max_examples=150, deadline=None)
@given(json_files(), st.sampled_from(BLOCK_SIZES), options)
def test_lines_of_json_are_read_alike_by_blocks_and_by_rows(content, num_bytes, options):
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, num_bytes)
        by_blocks = or_refusal(read_all, content, "p.jsonl", **options)
    assert by_blocks == or_refusal(read_by_row, content, "p.jsonl", **options)


headers = st.permutations([*COLUMNS, "other", ""]).flatmap(
    lambda names: st.integers(0, 6).map(lambda size: names[:size])
)


@st.composite
def csv_files(draw, names=headers):
    """Tables, some of whose lines are broken."""
    header = draw(names)
    cell = st.one_of(texts, id_texts)
    stream = io.StringIO(newline="")
    writer = csv.writer(
        stream, lineterminator=draw(st.sampled_from(["\n", "\r\n"])), quoting=draw(st.sampled_from([0, 1]))
    )
    writer.writerow(header)
    for row in draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=8)):
        writer.writerow(row)
        if draw(st.integers(0, 9)) == 0:
            stream.write(
                draw(st.sampled_from(['"open\n', "one,too,many,of,these,cells,here\n", "\n", '"a"b,c\n', "\x00\n"]))
            )
    mark = draw(st.sampled_from(["", "", "", "\ufeff"]))
    return (mark + stream.getvalue()).encode() + draw(st.sampled_from([b"", b"", b"a,\xff\n", b"\xff"]))


@settings(max_examples=60, deadline=None)
@given(csv_files(), st.sampled_from(BLOCK_SIZES), options)
def test_tables_are_read_alike_by_blocks_and_by_rows(content, num_bytes, options):
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, num_bytes)
        by_blocks = or_refusal(read_all, content, "p.csv", **options)
    assert by_blocks == or_refusal(read_by_row, content, "p.csv", **options)


def parquet(columns, **options):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


NOT_UTF8 = pa.array([b"a", b"\xff", b"c"], pa.binary())
PARQUET = {
    "text": {"id": pa.array(["a", None, " 7.0 "]), "name": pa.array(["x", "<b>y</b>", None])},
    "whole numbers": {"id": pa.array([1, None, 2**63 - 1], pa.int64()), "name": pa.array(["x", "y", "z"])},
    "small numbers": {"id": pa.array([1, None, 255], pa.uint8())},
    "large numbers": {"id": pa.array([2**64 - 1, 0, 1], pa.uint64())},
    "large text": {"id": pa.array(["a", "b", None], pa.large_string()), "name": pa.array(["x"] * 3, pa.large_string())},
    "text by number": {"id": pa.array(["a", "b", "a"]).dictionary_encode()},
    "numbers for names": {"id": pa.array(["a", "b", "c"]), "name": pa.array([1, 2, 3])},
    "fractions for ids": {"id": pa.array([1.0, 2.5, None])},
    "bytes": {"id": NOT_UTF8, "name": pa.array(["x"] * 3)},
    "text that is none": {"id": pa.array(["a", "b", "c"]), "name": NOT_UTF8.view(pa.string())},
    "ids that are none": {"id": NOT_UTF8.view(pa.string())},
    "large text that is none": {"id": NOT_UTF8.cast(pa.large_binary()).view(pa.large_string())},
    "nulls": {"id": pa.nulls(3), "name": pa.nulls(3)},
    "null text": {"id": pa.nulls(3, pa.string())},
    "lists": {"id": pa.array(["a", "b", "c"]), "description": pa.array([["a", "b"], [], None])},
    "other columns": {"x": pa.array([1, 2, 3])},
    "no rows": {"id": pa.array([], pa.string())},
    "no columns": {},
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_is_read_alike_by_blocks_and_by_rows(name):
    content = parquet(PARQUET[name])
    assert read_all(content, "p.parquet") == read_by_row(content, "p.parquet")
    is_plain = name in ("text", "whole numbers", "small numbers", "large numbers", "large text", "null text")
    assert any(is_block(find_blocks(content, "p.parquet"))) == is_plain or not is_plain


def test_only_a_batch_of_parquet_with_text_that_is_none_is_read_row_by_row(monkeypatch):
    monkeypatch.setattr("eshop_ray.data.formats.columnar._BATCH_ROWS", 10)
    names = pa.array([b"\xff" if number == 34 else b"scarf" for number in range(95)], pa.binary()).view(pa.string())
    content = parquet({"id": pa.array(range(95)), "name": names, "other": pa.array([[1]] * 95)})
    found = find_blocks(content, "p.parquet")
    assert is_block(found) == [True] * 3 + [False] * 10 + [True] * 6
    told = read_all(content, "p.parquet")
    assert told == read_by_row(content, "p.parquet")
    assert told[34] == (35, "a value that cannot be read")
    assert told[35] == (36, {"id": "35", "name": "scarf", "description": None, "category": None})


def test_trouble_in_a_column_of_parquet_that_is_not_read_costs_nothing():
    """Whether a batch is taken as a block or, for its neighbours' sake, row by row."""
    beyond = pa.array([2**62, 0], pa.timestamp("ms"))
    for names in (pa.array(["x", "y"]), pa.array([b"x", b"\xff"], pa.binary()).view(pa.string())):
        content = parquet({"id": pa.array(["a", "b"]), "name": names, "changed": beyond})
        first, second = read_all(content, "p.parquet")
        assert first == (1, {"id": "a", "name": "x", "description": None, "category": None})
        assert second[0] == 2


def test_a_damaged_parquet_file_is_refused_in_the_same_words():
    content = parquet({"id": pa.array(["a" * 100])})
    for cut in (content[:-1], content[:50], content[:40] + b"\xff" * 20 + content[60:]):
        assert or_refusal(read_all, cut, "p.parquet") == or_refusal(read_by_row, cut, "p.parquet")


WANTED = (["text", "title"], ["asin", "votes"])


@settings(max_examples=80, deadline=None)
@given(
    json_files(rows_of(id_texts, texts, (*WANTED[0], "asin")), rows_of(id_texts, odd_values, (*WANTED[0], *WANTED[1]))),
    st.sampled_from(BLOCK_SIZES),
)
def test_texts_and_whole_numbers_are_read_alike_by_blocks_and_by_rows(content, num_bytes):
    def told(one):
        if isinstance(one, Malformed):
            return one.line, one.reason
        return one[0], [repr(one[1].get(name)) for name in WANTED[0]] + [f"{one[1].get(name)}" for name in WANTED[1]]

    def read_blocks():
        for one in read_text_blocks(io.BytesIO(content), "r.jsonl", FileOptions(), *WANTED):
            if isinstance(one, TextBlock):
                yield from zip(one.lines.tolist(), pa.table(dict(one.columns)).to_pylist(), strict=True)
            else:
                yield one

    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, num_bytes)
        by_blocks = or_refusal(lambda: list(map(told, read_blocks())))
    by_rows = or_refusal(lambda: list(map(told, read_rows(io.BytesIO(content), "r.jsonl", FileOptions()))))
    assert by_blocks == by_rows
