"""Files as shops export them, read as catalogues."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.sources import READERS
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def catalog(name, content):
    """What is read of a catalogue: (line, id) of the products, and the reasons of what is none by its line."""
    rows = list(READERS["catalog"](io.BytesIO(content), name, {}))
    good = [row["id"] for row in rows if not isinstance(row, Malformed)]
    return good, {row.line: row.reason for row in rows if isinstance(row, Malformed)}


PRODUCTS = [{"id": f"p{number}", "name": f"scarf {number}", "category": "Toys"} for number in range(3)]


@pytest.mark.parametrize("indent", [None, 1])
def test_one_json_array_is_a_catalogue_too(indent):
    assert catalog("p.json", json.dumps(PRODUCTS, indent=indent).encode()) == (["p0", "p1", "p2"], {})


BROKEN = ('{"id": "p1", "name": }', '{"id": "p1", "name": "x"', '"p1"', '{"id": "p1", "name": "\udcff"}', "{]")


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_object_of_an_array_costs_itself(broken):
    lines = ["[", json.dumps(PRODUCTS[0]) + ",", broken + ",", json.dumps(PRODUCTS[2]), "]"]
    good, reasons = catalog("p.json", "\n".join(lines).encode("utf-8", "surrogateescape"))
    assert good == ["p0", "p2"]
    assert list(reasons) == [3]


def test_a_broken_object_of_an_array_on_one_line():
    first, last = (json.dumps(PRODUCTS[number]) for number in (0, 2))
    good, reasons = catalog(
        "p.json", f'[{first},{{"id": "p1", "parts": [{{"id": "part"}}], "name": }},{last}]'.encode()
    )
    assert good == ["p0", "p2"]
    assert len(reasons) == 1


def test_an_array_that_was_cut_says_so():
    good, reasons = catalog("p.json", json.dumps(PRODUCTS, indent=1).encode()[:-2])
    assert good == ["p0", "p1", "p2"]
    assert "the file may have been cut" in "".join(reasons.values())


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("is_declared", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_as_programs_export_them(delimiter, is_declared, encoding):
    rows = [("id", "name", "category"), ("p0", f"Tisch{delimiter} groß", "Möbel"), ("007", "Pfanne", "Küche")]
    text = (f"sep={delimiter}\r\n" if is_declared else "") + "".join(
        delimiter.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows
    )
    records = list(READERS["catalog"](io.BytesIO(text.encode(encoding)), "p.csv", {}))
    assert [(record["id"], record["target"]) for record in records] == [("p0", "Möbel"), ("007", "Küche")]
    assert records[0]["text"] == f"Tisch{delimiter} groß".replace("\t", "")


def test_a_description_in_paragraphs_is_read():
    product = {**PRODUCTS[0], "description": ["Warm.", "Of wool."]}
    (record,) = READERS["catalog"](io.BytesIO(json.dumps(product).encode()), "p.jsonl", {})
    assert record["text"] == "scarf 0\nWarm. Of wool."


DOCUMENTS = [
    {"products": PRODUCTS},
    {"total": 3, "data": {"products": PRODUCTS}},
    {"data": {"products": {"edges": [{"cursor": "x", "node": product} for product in PRODUCTS]}}},
    {"count": 3, "results": PRODUCTS, "next": None},
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_the_rows_of_a_document_are_found(document, indent):
    assert catalog("p.json", json.dumps(document, indent=indent).encode()) == (["p0", "p1", "p2"], {})


def test_the_list_of_a_document_is_named():
    document = {"items": [{"x": 1}], "shop": {"stock": PRODUCTS}}
    content = io.BytesIO(json.dumps(document, indent=1).encode())
    rows = READERS["catalog"](content, "p.json", {"records": "shop.stock"})
    assert [row["id"] for row in rows] == ["p0", "p1", "p2"]
    with pytest.raises(UserError, match=r"no list of rows under `goods`; found items, shop, shop\.stock"):
        list(READERS["catalog"](io.BytesIO(json.dumps(document).encode()), "p.json", {"records": "goods"}))


def test_a_row_with_lists_of_its_own_is_a_row():
    product = {**PRODUCTS[0], "items": [{"id": "part"}]}
    assert catalog("p.jsonl", json.dumps(product).encode()) == (["p0"], {})
    assert catalog("p.json", json.dumps(product, indent=1).encode())[0] != []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("content", ["\n".join(map(json.dumps, PRODUCTS)), json.dumps(PRODUCTS)])
def test_json_with_a_mark(encoding, content):
    assert catalog("p.json", content.encode(encoding)) == (["p0", "p1", "p2"], {})


def test_a_broken_first_line_of_json_lines_costs_itself():
    lines = ['{"id": "x", "name": ', *map(json.dumps, PRODUCTS)]
    good, reasons = catalog("p.jsonl", "\n".join(lines).encode())
    assert good == ["p0", "p1", "p2"]
    assert list(reasons) == [1]


CSV = "id,name,category\np0,Pan,Home\n"


@pytest.mark.parametrize("name", ["export", "export.dat", "export.csv.bak"])
@pytest.mark.parametrize("content", [CSV, CSV.replace(",", "\t"), "- {id: p0, name: Pan, category: Home}\n"])
def test_a_file_without_a_telling_name_is_read_by_its_contents(name, content):
    assert catalog(name, content.encode())[0] == ["p0"]


def test_contents_that_tell_nothing_are_refused():
    with pytest.raises(UserError, match="neither contents nor ending tell a format"):
        catalog("p.dat", b"\x00\x01\x02")
    with pytest.raises(UserError, match="its contents are not workbook"):
        catalog("p.xlsx", b"nothing of the kind")


PADDED = """id  , name        , category
p0  , "Pan, iron"  , "Home"
p1  , "a ""b"" c" , Home
p2  , Cup         , "Home"
"""


def test_quotes_with_blanks_around_them():
    records = list(READERS["catalog"](io.BytesIO(PADDED.encode()), "p.csv", {}))
    assert [(record["id"], record["text"]) for record in records] == [
        ("p0", "Pan, iron"),
        ("p1", 'a "b" c'),
        ("p2", "Cup"),
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("id^name^category\np0^Pan^Küche\n", {"delimiter": "^"}),
        ("id,name,category\np0,'Pan',Küche\n", {"quote": "'"}),
        ('id,name,category\np0,"Pan",Küche\n', {"escape": "\\"}),
    ],
)
def test_options_win_over_what_the_file_looks_like(text, options):
    (record,) = READERS["catalog"](io.BytesIO(text.encode("cp850")), "p.csv", {**options, "encoding": "cp850"})
    assert (record["text"], record["target"]) == ("Pan", "Küche")


def test_an_escaped_quote_is_text():
    text = 'id,name,category\np0,"5\\" pan, black",Home\np1,Cup,Home\n'
    records = list(READERS["catalog"](io.BytesIO(text.encode()), "p.csv", {"escape": "\\"}))
    assert [record["text"] for record in records] == ['5" pan, black', "Cup"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "utf-9"}, "no encoding of that name"),
        ({"delimitr": ";"}, "did you mean `delimiter`"),
        ({"format": "shopfy"}, "shopify"),
        ({"delimiter": ";;"}, "at most 1 character"),
    ],
)
def test_a_wrong_option_is_one_message(options, message):
    with pytest.raises(UserError, match=message):
        list(READERS["catalog"](io.BytesIO(CSV.encode()), "p.csv", options))


def test_a_line_beyond_the_limit_costs_itself(monkeypatch):
    monkeypatch.setattr("eshop_ray.data.formats.json_text.MAX_RECORD_CHARACTERS", 1000)
    lines = [json.dumps(PRODUCTS[0]), json.dumps({**PRODUCTS[1], "name": "x" * 5000}), json.dumps(PRODUCTS[2])]
    good, reasons = catalog("p.jsonl", "\n".join(lines).encode())
    assert good == ["p0", "p2"]
    assert "MAX_RECORD_CHARACTERS" in reasons[2]


def test_deep_json_costs_itself():
    lines = [json.dumps(PRODUCTS[0]), "[" * 100_000, json.dumps(PRODUCTS[2])]
    good, reasons = catalog("p.jsonl", "\n".join(lines).encode())
    assert (good, list(reasons)) == (["p0", "p2"], [2])


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_of_a_documents_own_are_refused(prologue):
    content = f"<?xml version='1.0'?>{prologue}<products><product><id>p</id><name>&b;&x;</name></product></products>"
    with pytest.raises(UserError, match="declares entities"):
        catalog("p.xml", content.encode())


def read_all(content, path, records=None):
    """All that a file holds, or why it holds nothing; what is wrong with a row without where in it."""
    try:
        rows = list(read_rows(io.BytesIO(content), path, FileOptions(records=records)))
    except UserError as error:
        return str(error)
    return [(row.line, row.reason.partition(":")[0]) if isinstance(row, Malformed) else row for row in rows]


values = st.recursive(
    st.sampled_from([None, True, 1.5, -20, "é", 'q"x', "a\nb", "]", "},{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "node"]), inner),
    max_leaves=6,
)
documents = st.lists(values, max_size=5) | st.fixed_dictionaries({"meta": values, "products": st.lists(values)})


@given(
    documents,
    st.sampled_from([None, 1]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["", "{", "}", "]", '"', ",", "\\", "x"]),
    st.integers(0, 200),
    st.integers(1, 50),
)
def test_json_is_read_alike_in_windows_of_any_size(document, indent, encoding, junk, place, size):
    text = json.dumps(document, indent=indent)
    content = (text[:place] + junk + text[place + 1 :] if junk else text).encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eshop_ray.data.formats.json_text.WINDOW_BYTES", size)
        by_windows = read_all(content, "p.json")
    assert by_windows == read_all(content, "p.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_large_xml_is_read_from_a_copy(monkeypatch, encoding):
    rows = "".join(f"<item>\n<id>p{number}</id><title>Töpfe {number}</title></item>" for number in range(1000))
    content = f"<rss><channel>{rows}<item><id></channel></rss>".encode(encoding)
    expected = read_all(content, "p.xml")
    assert len(expected) > 1000
    monkeypatch.setattr("eshop_ray.data.formats.limits.HELD_BYTES", 1000)
    monkeypatch.setattr("eshop_ray.data.formats.xml_rows.HELD_BYTES", 1000)
    assert read_all(content, "p.xml") == expected
    monkeypatch.setattr("eshop_ray.data.formats.limits.MAX_MAPPED_BYTES", 5000)
    assert "larger than 5,000 bytes (MAX_MAPPED_BYTES)" in read_all(content, "p.xml")


def test_an_element_beyond_the_limit_costs_itself(monkeypatch):
    monkeypatch.setattr("eshop_ray.data.formats.xml_rows.MAX_RECORD_CHARACTERS", 1000)
    row = "<item><id>p{}</id><title>{}</title></item>"
    content = f"<rss>{row.format(0, 'Pan')}{row.format(1, 'x' * 2000)}{row.format(2, 'Pot')}</rss>"
    first, second, third = read_all(content.encode(), "p.xml")
    assert (first[1]["id"], third[1]["id"]) == ("p0", "p2")
    assert second == (1, "an element of more than 1,000 bytes (MAX_RECORD_CHARACTERS)")
