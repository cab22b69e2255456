"""Catalogue and review files -> columns in the exchange; what cannot be read goes along, with its reason."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.config.files import CatalogOptions
from eshop_ray.config.nightly import ReviewsSection
from eshop_ray.data.files import open_bytes
from eshop_ray.data.formats.reader import read_rows, read_text_blocks
from eshop_ray.data.formats.text_blocks import Blocks, TextBlock
from eshop_ray.data.product_blocks import clean_column, map_distinct, normalize_ids, read_product_blocks, squeeze_column
from eshop_ray.data.products import join_texts, look_up, read_id, read_version
from eshop_ray.data.sources.reviews import clean_text
from eshop_ray.enrichment.columns import clean_message, identify_place
from eshop_ray.enrichment.placing import place_by
from eshop_ray.exchange import Exchange, PartWriter
from eshop_ray.schema import Malformed, Row, encode, is_text

FIELD_PREFIX = "field_"
"""Before the name of a catalogue's column, so that it is never one of ours."""

_PRODUCT_COLUMNS = (
    ("problems", pa.string()),
    ("fingerprint", pa.string()),
    ("reason", pa.string()),
    ("message", pa.string()),
    ("file", pa.int32()),
    ("line", pa.int64()),
    ("element", pa.int32()),
    ("version", pa.float64()),
)

REVIEW_ROWS = pa.schema(
    [("product_id", pa.string()), ("text", pa.string()), ("votes", pa.float64()), ("reviewer", pa.string())]
)
"""A review; `reviewer` is what `hash_reviewer` makes of its user's id, null where the file names none."""

REVIEW_COLUMNS = ("parent_asin", "text", "title", "helpful_vote", "user_id")
"""Our names of what is read of a review."""

BUFFER_ROWS = 8_000
"""Rows read one by one that a task holds as such."""
BUFFER_CHARACTERS = 8_000_000
"""Characters of text in them after which it holds no more."""
MAX_CHARACTERS = 100_000
"""A text longer than this fits no prompt; it is not carried further."""
MAX_VOTES = 1e12

_COUNT = re.compile(r"\d{1,3}(?:[,.' \u00a0\u202f]\d{3})+|\d+(?:\.0+)?")
"""A whole number as people and programs write it: 1,234 or 1.234 or 7.0."""
_THOUSANDS = re.compile(r"[,.' \u00a0\u202f](?=\d{3}\b)")

ONE_TEXT = frozenset({"name", "category"})
"""Columns of one line, in which a list is a mistake; in others its texts are joined."""
TEXT_ONLY = frozenset({"name", "description", "category"})
"""Columns in which a number is a mistake; in others it is written out."""


def product_rows(names: Sequence[str]) -> pa.Schema:
    """Return the columns of a product, or of a row of any file that could not be read: its `reason` is set.

    `field_NAME` is what the catalogue says, `problems` JSON text (name -> reason code) of what is wrong with it, `file`
    the number of its file. `element` is 0 for the first row that begins on its line, 1 for the second: an array may
    stand on one line. Of rows with one id the one with the highest `version` counts; null: there is no telling.
    """
    fields = [(FIELD_PREFIX + name, pa.string()) for name in names]
    return pa.schema([("product_id", pa.string()), *fields, *_PRODUCT_COLUMNS])


def scan_catalog(file: Mapping[str, Any], options: CatalogOptions, names: Sequence[str], products: Exchange) -> Row:
    """Read one catalogue file (`path`, `number`) into an exchange.

    Args:
        file: `path` and `number`.
        options: How it is written, and what its columns mean.
        names: Our names of the columns to read, `category` among them.
        products: Where products go, with the columns of `product_rows`.

    Returns:
        `num_rows`, `num_unreadable`, `columns`: those of `names` that any row has, and `parts` of the exchange.
    """
    path = file["path"].partition("?")[0]
    id_column = str(options.columns.get("id", "id"))
    writer = PartWriter(
        products, f"catalog-{file['number']:06d}", place_by(("product_id", "fingerprint"), products.num_buckets)
    )
    counts = {"num_rows": 0, "num_unreadable": 0}
    columns: set[str] = set()

    def to_columns(block: TextBlock) -> pa.Table:
        return to_product_columns(block, path, names, id_column)

    def to_row(found: tuple[int, Row] | Malformed) -> Row:
        if isinstance(found, Malformed):
            return _unreadable(found)
        product = to_product(path, *found, names, id_column)
        version = read_version(look_up(found[1], options.newest_by)) if options.newest_by else None
        return {**product, "version": version}

    with open_bytes(file["path"]) as stream:
        for rows in _gather(read_product_blocks(stream, path, options, names), products.schema, to_columns, to_row):
            is_good = pc.is_null(rows["reason"])
            num_good = pc.sum(is_good).as_py() or 0
            counts["num_rows"] += num_good
            counts["num_unreadable"] += len(rows) - num_good
            columns.update(name for name in names if rows[FIELD_PREFIX + name].null_count < len(rows))
            writer.add(_number(rows, file))
    return {**counts, "columns": sorted(columns), "parts": writer.close()}


def scan_reviews(
    file: Mapping[str, Any], options: ReviewsSection, reviews: Exchange, products: Exchange, salt: str = ""
) -> Row:
    """Read one file of reviews into an exchange; those that cannot be read go where such products go.

    Args:
        file: `path` and `number`.
        options: How it is written, and what its columns mean.
        reviews: Where reviews go.
        products: Where those go that cannot be read.
        salt: Of the digests of users' ids.

    Returns:
        `num_rows`, `num_unreadable`, `parts` of the reviews, and `bad_parts` of what could not be read.
    """
    path = file["path"].partition("?")[0]
    name = f"reviews-{file['number']:06d}"
    writer = PartWriter(reviews, name, place_by(("product_id",), reviews.num_buckets))
    bad_writer = PartWriter(products, name, place_by(("product_id", "fingerprint"), products.num_buckets))
    num_rows = num_unreadable = 0
    names = {ours: options.columns.get(ours, ours) for ours in REVIEW_COLUMNS}
    schema = pa.schema([*REVIEW_ROWS, *products.schema.remove(0)])

    def to_columns(block: TextBlock) -> pa.Table:
        return to_review_columns(block, path, names, schema, salt)

    def to_row(found: tuple[int, Row] | Malformed) -> Row:
        if isinstance(found, Malformed):
            return _unreadable(found)
        return to_review(path, *found, options.columns, salt)

    with open_bytes(file["path"]) as stream:
        for rows in _gather(_read_review_blocks(stream, path, options, names), schema, to_columns, to_row):
            is_good = pc.is_null(rows["reason"])
            good, bad = rows.filter(is_good), rows.filter(pc.invert(is_good))
            num_rows += len(good)
            num_unreadable += len(bad)
            writer.add(good.select(REVIEW_ROWS.names))
            bad_writer.add(_number(bad.select(products.schema.names), file))
    counts = {"num_rows": num_rows, "num_unreadable": num_unreadable}
    return {**counts, "parts": writer.close(), "bad_parts": bad_writer.close()}


def _read_review_blocks(stream: Any, path: str, options: ReviewsSection, names: Mapping[str, str]) -> Blocks:
    if any("." in column for column in names.values()) or len(set(names.values())) < len(names):
        return read_rows(stream, path, options.file_options())
    texts, scalars = [names["text"], names["title"]], [names["parent_asin"], names["helpful_vote"], names["user_id"]]
    return read_text_blocks(stream, path, options.file_options(), texts, scalars)


def to_product_columns(block: TextBlock, path: str, names: Sequence[str], id_column: str = "id") -> pa.Table:
    """Return the products of a block as rows of `product_rows`, `file` left empty; faulty fields are named in them."""
    ids = block.columns["id"]
    num_rows = len(block.lines)
    columns: dict[str, Any] = {"product_id": ids}
    problems: dict[int, dict[str, str]] = {}
    for name in names:
        values = block.columns.get(name, pa.nulls(num_rows, pa.string()))
        too_long = _is_too_long(values)
        if pc.any(too_long).as_py():
            values = pc.if_else(too_long, pa.scalar(None, pa.string()), values)
            for place in np.flatnonzero(too_long.to_numpy(zero_copy_only=False)).tolist():
                problems.setdefault(place, {})[name] = "too_long"
        columns[FIELD_PREFIX + name] = squeeze_column(values) if name in ONE_TEXT else values
    told = [encode(problems[place]) if place in problems else None for place in range(num_rows)] if problems else None
    columns["problems"] = pa.array(told, pa.string()) if told else pa.nulls(num_rows, pa.string())
    columns |= {name: pa.nulls(num_rows, pa.string()) for name in ("fingerprint", "reason", "message")}
    columns |= {"line": pa.array(block.lines, pa.int64()), "element": np.zeros(num_rows, np.int32)}
    columns |= {"file": pa.nulls(num_rows, pa.int32()), "version": pa.nulls(num_rows, pa.float64())}
    schema = product_rows(names)
    rows = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    return _replace_bad(rows, pc.is_null(ids), lambda line: _without_id(path, line, id_column))


def to_product(path: str, line: int, row: Mapping[str, Any], names: Sequence[str], id_column: str = "id") -> Row:
    """Return a product as a row of `product_rows`; faulty fields are named in it."""
    product_id = read_id(row.get("id"))
    if product_id is None:
        return _without_id(path, line, id_column)
    values: Row = {}
    problems: dict[str, str] = {}
    for name in names:
        value = row.get(name)
        value = value if name in ONE_TEXT else join_texts(value)
        if name not in TEXT_ONLY and isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value}"
        problem = _problem(value)
        values[FIELD_PREFIX + name] = None if problem else value
        if problem:
            problems[name] = problem
        elif value and name in ONE_TEXT:
            values[FIELD_PREFIX + name] = " ".join(value.split())
    return {"product_id": product_id, **values, "problems": encode(problems) if problems else None, "line": line}


def to_review_columns(
    block: TextBlock, path: str, names: Mapping[str, str], schema: pa.Schema, salt: str = ""
) -> pa.Table:
    """Return the reviews of a block, and those of them that cannot be read, with the columns of both."""
    num_rows = len(block.lines)
    read = {ours: block.columns.get(own, pa.nulls(num_rows, pa.string())) for ours, own in names.items()}
    text, title = (squeeze_column(clean_column(read[name])) for name in ("text", "title"))
    text = pc.if_else(pc.fill_null(pc.not_equal(text, ""), False), text, title)
    is_long = [_is_too_long(read[name]) for name in ("text", "title")]
    ids = normalize_ids(read["parent_asin"])
    empty = pc.fill_null(pc.equal(text, ""), True)
    votes = map_votes(read["helpful_vote"])
    reviewers = map_distinct(normalize_ids(read["user_id"]), partial(hash_reviewer, salt=salt))
    columns: dict[str, Any] = {"product_id": ids, "text": text, "votes": votes, "reviewer": reviewers}
    columns |= {"line": pa.array(block.lines, pa.int64()), "element": np.zeros(num_rows, np.int32)}
    filled = {field.name: columns.get(field.name, pa.nulls(num_rows, field.type)) for field in schema}
    rows = pa.table(filled, schema=schema)
    told = pc.case_when(
        pc.make_struct(pc.is_null(ids), pc.or_(*is_long), empty), "missing_id", "too_long", "missing_text", ""
    )
    reasons = dict(zip(block.lines.tolist(), told.to_pylist(), strict=True))
    return _replace_bad(rows, pc.not_equal(told, ""), lambda line: _bad_review(path, line, reasons[line]))


def to_review(path: str, line: int, row: Mapping[str, Any], columns: Mapping[str, str], salt: str = "") -> Row:
    """Return a review as a row of `REVIEW_ROWS`, or as one that cannot be read."""
    product_id = read_id(look_up(row, columns.get("parent_asin", "parent_asin")))
    if product_id is None:
        return _bad_review(path, line, "missing_id")
    texts = []
    for name in ("text", "title"):
        value = look_up(row, columns.get(name, name))
        problem = _problem(value)
        if problem:
            return _bad_review(path, line, problem)
        texts.append(clean_text(value or ""))
    if not any(texts):
        return _bad_review(path, line, "missing_text")
    votes = look_up(row, columns.get("helpful_vote", "helpful_vote"))
    user = read_id(look_up(row, columns.get("user_id", "user_id")))
    reviewer = hash_reviewer(user, salt) if user is not None else None
    review = {"product_id": product_id, "text": texts[0] or texts[1], "votes": read_votes(votes), "reviewer": reviewer}
    return {**review, "line": line}


def hash_reviewer(user: str, salt: str) -> str:
    """Return what the table keeps of a user's id: a digest that nobody can look up in a list made for other tables."""
    return hashlib.blake2b(user.encode(), key=salt.encode(), digest_size=16).hexdigest()


def map_votes(values: pa.Array) -> pa.Array:
    """Return numbers of votes that are written as text."""
    return pc.fill_null(map_distinct(values, read_votes, pa.float64()), 0.0)


def read_votes(value: Any) -> float:
    """Return a number of votes; what is none counts as zero, which costs a review its rank and nothing else."""
    if isinstance(value, str):
        value = float(_THOUSANDS.sub("", value)) if _COUNT.fullmatch(value.strip()) else 0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_VOTES else 0.0


_BAD_REVIEW = {"missing_id": "a review without a product's id", "missing_text": "a review without text"}


def _bad_review(path: str, line: int, reason: str) -> Row:
    message = _BAD_REVIEW.get(reason, "a review whose text or title is no usable text")
    return _unreadable(Malformed(path, line, message), reason)


def _without_id(path: str, line: int, id_column: str) -> Row:
    return _unreadable(Malformed(path, line, f"`{id_column}` is missing or no id"), "missing_id")


def _problem(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "wrong_type"
    if len(value) > MAX_CHARACTERS:
        return "too_long"
    return None if is_text(value) else "not_utf8"


def _is_too_long(values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.greater(pc.utf8_length(values), MAX_CHARACTERS), False)


def _unreadable(malformed: Malformed, reason: str = "unreadable") -> Row:
    message = clean_message(malformed.reason)
    row = {"path": malformed.path, "line": malformed.line, "element": 0, "reason": reason, "message": message}
    return {**row, "fingerprint": identify_place("unreadable", row)}


def _replace_bad(rows: pa.Table, is_bad: pa.Array, describe: Callable[[int], Row]) -> pa.Table:
    """Return rows of which some are described as what cannot be read."""
    places = np.flatnonzero(is_bad.to_numpy(zero_copy_only=False))
    if not len(places):
        return rows
    described = [describe(line) for line in rows["line"].take(places).to_pylist()]
    bad = pa.Table.from_pylist([{name: row.get(name) for name in rows.schema.names} for row in described], rows.schema)
    return pa.concat_tables([rows.filter(pc.invert(is_bad)), bad])


def _gather(
    found: Blocks,
    schema: pa.Schema,
    to_columns: Callable[[TextBlock], pa.Table],
    to_row: Callable[[tuple[int, Row] | Malformed], Row],
) -> Iterator[pa.Table]:
    """Yield blocks by columns, and what comes row by row in tables that fit into memory."""
    held: list[Row] = []
    num_characters = last_line = element = 0

    def take_held() -> pa.Table:
        nonlocal num_characters
        table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in held], schema)
        held.clear()
        num_characters = 0
        return table

    for one in found:
        if isinstance(one, TextBlock):
            if held:
                yield take_held()
            yield to_columns(one)
            last_line = 0
            continue
        row = to_row(one)
        element = element + 1 if row["line"] == last_line else 0
        last_line = row["line"]
        row["element"] = element
        if element and row.get("reason"):
            row["fingerprint"] = identify_place("unreadable", row)
        held.append(row)
        num_characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(held) >= BUFFER_ROWS or num_characters >= BUFFER_CHARACTERS:
            yield take_held()
    if held:
        yield take_held()


def _number(rows: pa.Table, file: Mapping[str, Any]) -> pa.Table:
    """Return rows with the number of their file."""
    place = rows.schema.get_field_index("file")
    return rows.set_column(place, rows.schema.field(place), pa.repeat(pa.scalar(file["number"], pa.int32()), len(rows)))
