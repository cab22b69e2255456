"""Workbooks, built here by hand: a workbook is a zip of XML."""

import io
import zipfile
from xml.sax.saxutils import escape

import pytest

from eshop_ray.data.formats.workbooks import read_workbook
from eshop_ray.errors import UserError

_TYPES = """<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>"""
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = (
    """<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>"""
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def build(**sheets):
    """A workbook of sheets, each a list of rows."""
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>' for number, name in enumerate(sheets, start=1)
    )
    targets = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    root = f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS.format(root))
        archive.writestr("xl/_rels/workbook.xml.rels", _RELATIONS.format(targets))
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>'
        )
        for number, rows in enumerate(sheets.values(), start=1):
            archive.writestr(f"xl/worksheets/sheet{number}.xml", _write_sheet(rows))
    return sink.getvalue()


def _write_sheet(rows):
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = [_write_cell(f"{chr(65 + place)}{number}", value) for place, value in enumerate(row)]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def _write_cell(place, value):
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


ROWS = [
    ["id", " name ", None, "price"],
    ["007", "Pan", "note", 9.5],
    [],
    [8, "Cup", None, 7.0],
    [None, "Jug & lid", None, None],
]


def read(content, sheet=None):
    return list(read_workbook(io.BytesIO(content), "shop.xlsx", sheet))


def test_rows_of_the_first_sheet_that_has_any():
    assert read(build(Empty=[], Products=ROWS)) == [
        (2, {"id": "007", "name": "Pan", "price": 9.5}),
        (4, {"id": 8, "name": "Cup", "price": 7}),
        (5, {"id": None, "name": "Jug & lid", "price": None}),
    ]


def test_a_sheet_is_chosen_by_name():
    content = build(Notes=[["x"], ["y"]], Products=ROWS)
    assert len(read(content, "Products")) == 3
    with pytest.raises(UserError, match="no sheet `Stock`; it has Notes, Products"):
        read(content, "Stock")


def test_rows_above_the_table_count():
    assert [number for number, _ in read(build(Products=[[], [], *ROWS]))] == [4, 6, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (build(Products=[["id", "id"], [1, 2]]), "shop.xlsx:1: the header names id twice"),
        (build(Products=ROWS)[:-100], "not a readable workbook"),
        (b"PK\x03\x04 no workbook", "not a readable workbook"),
    ],
    ids=["a header's name twice", "cut off", "no workbook"],  # the bytes themselves hold the time
)
def test_a_broken_workbook_is_one_message(content, message):
    with pytest.raises(UserError, match=message):
        read(content)


def test_an_empty_workbook_has_no_rows():
    assert read(build(Products=[])) == []
