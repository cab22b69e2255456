import csv
import io
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eshop_ray.config.files import FileOptions
from eshop_ray.data.formats import delimited, table_blocks
from eshop_ray.data.formats.delimited import read_table
from eshop_ray.data.formats.table_blocks import parse_block
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def read(text, **options):
    """Rows by their number, and reasons by theirs."""
    rows, reasons = {}, {}
    content = text if isinstance(text, bytes) else text.encode()
    for record in read_table(io.BytesIO(content), "p.csv", FileOptions(**options)):
        if isinstance(record, Malformed):
            reasons[record.line] = record.reason
        else:
            rows[record[0]] = record[1]
    return rows, reasons


def names_of(rows):
    return {number: row["name"] for number, row in rows.items()}


def test_unclosed_quote_costs_its_record_only():
    rows, reasons = read('id,name\na,"24"" screen"\nb,"24 screen\nc,"27"" screen"\nd,lamp\n')
    assert names_of(rows) == {2: '24" screen', 4: '27" screen', 5: "lamp"}
    assert list(reasons) == [3]


def test_rows_without_quotes_after_an_unclosed_one_are_read():
    lines = [f"p{number},scarf {number}" for number in range(30)]
    lines[7] = 'p7,"scarf 7'
    rows, reasons = read("\n".join(["id,name", *lines]))
    assert len(rows) == 29
    assert reasons == {9: "a quote that is not closed"}


def test_two_unclosed_quotes_cost_two_records():
    rows, reasons = read('id,name\na,"one\nb,two\nc,"three\nd,four\n')
    assert names_of(rows) == {3: "two", 5: "four"}
    assert set(reasons) == {2, 4}


def test_long_text_of_many_lines_is_one_field():
    text = "\n".join(f"line {number}, so it goes" for number in range(9000))
    rows, reasons = read(f'id,name\na,"{text}"\nb,lamp\n')
    assert names_of(rows) == {2: text, 9002: "lamp"}
    assert not reasons


def test_a_record_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(delimited, "MAX_RECORD_CHARACTERS", 100)
    rows, reasons = read('id,name\na,"x\n' + "b,lamp\n" * 40)
    assert len(rows) == 40
    assert reasons == {2: "a quote that is not closed"}


def test_quotes_within_a_field_are_text():
    rows, _ = read('id,name\na,5" pipe\nb,6" pipe\nc,"7"" pipe"\n')
    assert names_of(rows) == {2: '5" pipe', 3: '6" pipe', 4: '7" pipe'}


def test_columns_without_a_name_are_left_out():
    rows, _ = read(",id,name,\n0,a,scarf,\n")
    assert rows == {2: {"id": "a", "name": "scarf"}}


@pytest.mark.parametrize("row", ["a", "a,b,c", ""])
def test_rows_of_another_width_are_named(row):
    rows, reasons = read(f"id,name\n{row}\nz,lamp\n")
    assert names_of(rows) == {3: "lamp"}
    assert reasons == ({2: f"expected 2 columns, found {row.count(',') + 1}"} if row else {})


def test_header_that_cannot_be_understood():
    with pytest.raises(UserError, match=r"p\.csv:1: the header names id twice"):
        read("id,id\na,b\n")
    with pytest.raises(UserError, match=r"p\.csv:1: the header cannot be read: a quote that is not closed"):
        read('id,"name\n')


def test_quotes_are_text_where_the_dialect_says_so():
    rows, reasons = read('id\tname\na\t"scarf\nb\tlamp\n', delimiter="\t", quote="")
    assert names_of(rows) == {2: '"scarf', 3: "lamp"}
    assert not reasons


fields = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@given(st.lists(st.tuples(fields, fields), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_well_formed_is_read_as_it_was_written(pairs, end):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "name"), *pairs])
    rows, reasons = read(stream.getvalue())
    assert [(row["id"], row["name"]) for row in rows.values()] == pairs
    assert not reasons


@given(st.text(st.sampled_from('ab,"\n\r'), max_size=40))
def test_a_record_that_is_whole_comes_back_whatever_stands_before_it(junk):
    rows, reasons = read(f'id,name\n{junk}\nlast,"one, ""two"""\n')
    numbers = [*rows, *reasons]
    assert len(numbers) == len(set(numbers))
    if '"' not in junk:
        assert list(rows.values())[-1] == {"id": "last", "name": 'one, "two"'}


@contextmanager
def blocks_of(num_bytes, is_fast=True):
    """Blocks of some other size, or none that is parsed at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_blocks, "BLOCK_BYTES", num_bytes)
        if not is_fast:
            patch.setattr(delimited, "parse_block", lambda *_, **__: None)
        yield


junk = st.lists(
    st.sampled_from(["a", "b", ",", '"', '""', "\n", "\r\n", "\r", " ", "\t", "x,y", '"q, q"', "é", "\x00"]),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(junk.map("".join), st.sampled_from([b"", b"\xff", b"\xe2\x82"]), st.integers(1, 40))
@example('"a","b"\n"c","d', b"", 5)
@example('a,b\n\n\r\nc,"d\n\ne"\nf', b"", 7)
def test_blocks_of_any_size_hold_what_is_read_record_by_record(text, tail, num_bytes):
    content = b"id,name\n" + text.encode() + tail + b'\nz,"last, one"\n'
    with blocks_of(1 << 20, is_fast=False):
        expected = read(content)
    for size in (num_bytes, 1 << 20):
        with blocks_of(size):
            assert read(content) == expected


def test_only_a_broken_block_is_read_record_by_record():
    lines = [f'p{number},"scarf, {number}"' for number in range(3000)]
    lines[1500] = 'p1500,"scarf'
    parsed = []

    def count_blocks(*arguments, **named):
        parsed.append(parse_block(*arguments, **named))
        return parsed[-1]

    with blocks_of(2000), pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "parse_block", count_blocks)
        rows, reasons = read("\n".join(["id,name", *lines]))
    assert (len(rows), list(reasons)) == (2999, [1502])
    assert rows[2500] == {"id": "p2498", "name": "scarf, 2498"}
    refused = [block for block in parsed if block is None]
    assert 1 <= len(refused) <= 3
    assert len(parsed) > 10
