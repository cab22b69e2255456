import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.data.sources import delimited
from eshop_ray.data.sources.delimited import Dialect, read_records
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def read(text, dialect=Dialect()):  # noqa: B008 - frozen
    """Rows by their number, and reasons by theirs."""
    rows, reasons = {}, {}
    for record in read_records(io.StringIO(text, newline=""), "p.csv", dialect):
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
    rows, reasons = read('id\tname\na\t"scarf\nb\tlamp\n', Dialect("\t", None))
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
