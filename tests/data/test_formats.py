"""Files as shops export them, read as catalogues."""

import io
import json

import pytest

from eshop_ray.data.sources import READERS
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
