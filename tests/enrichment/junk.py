"""What shops' exports hold: products, reviews, and everything that is neither."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

LONG = b"LONG"
"""Stands for a text of a megabyte, which examples had better not show; `grow` puts it in."""
YAML_JUNK = (
    "[",
    "{}",
    "- !!timestamp x",
    "- !!bool x",
    "- &a [*a]",
    "- {? [a] : b}",
    "- 2024-13-45",
    "- 0x_",
    "- !!int ''",
)

texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(codec=None), max_size=5),
    st.sampled_from(["", " ", "red scarf", "blue hat", "\ud800", "a\x00b", "O | =", LONG.decode()]),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
ids = st.one_of(st.sampled_from(["a", "b", "c", "d", 1, 2, "1", " a "]), values)


def grow(data):
    """The bytes as they are to be written."""
    return data.replace(LONG, b"long " * 200_000)


def objects(*names):
    """Rows with any of these columns, and others."""
    columns = {name: ids if name in ("id", "parent_asin") else st.one_of(texts, values) for name in names}
    return st.fixed_dictionaries({}, optional={**columns, "other": values})


products = objects("id", "name", "description", "category")
reviews = objects("parent_asin", "text", "title", "helpful_vote")


def json_lines(rows):
    line = st.one_of(rows.map(json.dumps).map(str.encode), rows.map(json.dumps).map(str.encode), st.binary(max_size=30))
    return st.lists(line, max_size=12).map(b"\n".join)


@st.composite
def csv_files(draw):
    header = draw(st.lists(st.sampled_from(["id", "name", "description", "category", ""]), max_size=5))
    cell = st.one_of(st.sampled_from(["a", "b", "1", "", '"', "red scarf", "\x00", "x" * 200_000]), st.text(max_size=8))
    rows = draw(st.lists(st.lists(cell, max_size=5), max_size=10))
    return "\n".join(",".join(row) for row in [header, *rows]).encode("utf-8", "surrogatepass")


def to_yaml(rows):
    return yaml.safe_dump(json.loads(json.dumps(rows)), allow_unicode=False).encode("utf-8", "surrogatepass")


yaml_files = st.one_of(
    st.lists(products, max_size=4).map(to_yaml), st.sampled_from(YAML_JUNK).map(str.encode), st.binary(max_size=40)
)


@st.composite
def parquet_files(draw):
    size = draw(st.integers(0, 6))
    kinds = st.sampled_from([pa.string(), pa.binary(), pa.int64(), pa.timestamp("ms"), pa.list_(pa.int32()), pa.null()])
    columns = {}
    for name in draw(st.lists(st.sampled_from(["id", "name", "description", "category"]), unique=True)):
        kind = draw(kinds)
        columns[name] = pa.array(draw(st.lists(_cells(kind), min_size=size, max_size=size)), kind)
        if kind == pa.binary() and draw(st.booleans()):
            columns[name] = columns[name].view(pa.string())  # text that is no UTF-8
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    data = sink.getvalue()
    return data if draw(st.integers(0, 7)) else data[: draw(st.integers(0, len(data)))]


def _cells(kind):
    if pa.types.is_null(kind):
        return st.none()
    plain = {
        pa.string(): st.one_of(st.sampled_from(["a", "b", "red scarf"]), st.text(max_size=8)),
        pa.binary(): st.one_of(st.sampled_from([b"a", b"\xff"]), st.binary(max_size=8)),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.timestamp("ms"): st.integers(-(2**62), 2**62),
        pa.list_(pa.int32()): st.lists(st.integers(0, 9), max_size=2),
    }
    return st.one_of(st.none(), plain[kind])


FORMATS = {"jsonl": json_lines(products), "csv": csv_files(), "yaml": yaml_files, "parquet": parquet_files()}


def catalogues(formats=("jsonl", "jsonl", "csv", "yaml", "parquet"), max_files=3):
    """Lists of (ending, bytes)."""
    files = st.sampled_from(formats).flatmap(lambda ending: st.tuples(st.just(ending), FORMATS[ending]))
    return st.lists(files, max_size=max_files)


review_files = st.lists(json_lines(reviews), max_size=2)
