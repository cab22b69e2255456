"""Catalogue and review files -> rows in buckets by product id; what cannot be read is kept, with its reason."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from eshop_ray.config.files import CatalogOptions
from eshop_ray.config.nightly import ReviewsSection
from eshop_ray.data.files import open_bytes
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.products import join_texts, look_up, read_id, read_products, read_version
from eshop_ray.data.sources.reviews import clean_text
from eshop_ray.enrichment.columns import clean_message, identify_place
from eshop_ray.enrichment.shuffle import Shuffle
from eshop_ray.schema import Malformed, Row, bucket_of, encode, is_text

PRODUCT_ROWS = pa.schema(
    [
        ("product_id", pa.string()),
        ("fields", pa.string()),
        ("fingerprint", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("element", pa.int64()),
        ("version", pa.float64()),
    ]
)
"""A product, `fields` being JSON text, or a row of any file that could not be read: its `reason` is set. `element` is
0 for the first row that begins on its line, 1 for the second: an array may stand on one line. Of rows with one id the
one with the highest `version` counts; null: there is no telling."""

REVIEW_ROWS = pa.schema([("product_id", pa.string()), ("text", pa.string()), ("votes", pa.float64())])

PART_ROWS = 8_000
"""Rows that a task holds before it writes them out."""
PART_CHARACTERS = 8_000_000
"""Characters of text after which it writes sooner."""
MAX_CHARACTERS = 100_000
"""A text longer than this fits no prompt; it is not carried further."""
MAX_CATEGORIES = 1_000
MAX_VOTES = 1e12

_COUNT = re.compile(r"\d{1,3}(?:[,.' \u00a0\u202f]\d{3})+|\d+(?:\.0+)?")
"""A whole number as people and programs write it: 1,234 or 1.234 or 7.0."""
_THOUSANDS = re.compile(r"[,.' \u00a0\u202f](?=\d{3}\b)")

ONE_TEXT = frozenset({"name", "category"})
"""Columns in which a list is a mistake; in others its texts are joined."""
TEXT_ONLY = frozenset({"name", "description", "category"})
"""Columns in which a number is a mistake; in others it is written out."""


def scan_catalog(
    file: Mapping[str, Any], options: CatalogOptions, names: Sequence[str], shuffle: Shuffle, num_buckets: int
) -> Row:
    """Read one catalogue file (`path`, `number`) into a shuffle and return what was counted and which categories.

    Args:
        file: `path` and `number`.
        options: How it is written, and what its columns mean.
        names: Our names of the columns to read, `category` among them.
        shuffle: Where products go.
        num_buckets: Of the shuffle.
    """
    categories: set[str] = set()
    path = file["path"].partition("?")[0]
    id_column = str(options.columns.get("id", "id"))

    def rows() -> Iterator[Row]:
        with open_bytes(file["path"]) as stream:
            for row, element in _count_elements(read_products(stream, path, options)):
                product = _unreadable(row) if isinstance(row, Malformed) else to_product(path, *row, names, id_column)
                _place(product, element)
                if options.newest_by and not isinstance(row, Malformed):
                    product["version"] = read_version(look_up(row[1], options.newest_by))
                category = None if product["reason"] else product.pop("category")
                if category and len(categories) <= MAX_CATEGORIES:
                    categories.add(category)
                yield product

    counts = _write_parts(rows(), shuffle, f"catalog-{file['number']:06d}", PRODUCT_ROWS, num_buckets)
    return {**counts, "categories": sorted(categories)}


def scan_reviews(
    file: Mapping[str, Any], options: ReviewsSection, shuffle: Shuffle, unreadable: Shuffle, num_buckets: int
) -> Row:
    """Read one file of reviews into a shuffle; those that cannot be read go where such products go."""
    part = f"reviews-{file['number']:06d}"
    path = file["path"].partition("?")[0]
    bad: list[Row] = []
    counted = {"num_rows": 0, "num_unreadable": 0}

    def rows() -> Iterator[Row]:
        with open_bytes(file["path"]) as stream:
            for row, element in _count_elements(read_rows(stream, path, options.file_options())):
                review = _unreadable(row) if isinstance(row, Malformed) else to_review(path, *row, options.columns)
                if "reason" not in review:
                    yield review
                    continue
                _place(review, element)
                bad.append(review)
                if len(bad) >= PART_ROWS:
                    write_bad()

    def write_bad() -> None:
        counted["num_unreadable"] += len(bad)
        _write_parts(bad, unreadable, f"{part}-{counted['num_unreadable']:09d}", PRODUCT_ROWS, num_buckets)
        bad.clear()

    counted["num_rows"] = _write_parts(rows(), shuffle, part, REVIEW_ROWS, num_buckets)["num_rows"]
    write_bad()
    return counted


def to_product(path: str, line: int, row: Mapping[str, Any], names: Sequence[str], id_column: str = "id") -> Row:
    """Return a product as a row of `PRODUCT_ROWS`, with its `category` beside it; faulty fields are named in it."""
    product_id = read_id(row.get("id"))
    if product_id is None:
        return _unreadable(Malformed(path, line, f"`{id_column}` is missing or no id"), "missing_id")
    values: dict[str, str | None] = {}
    problems: dict[str, str] = {}
    for name in names:
        value = row.get(name)
        value = value if name in ONE_TEXT else join_texts(value)
        if name not in TEXT_ONLY and isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value}"
        problem = _problem(value)
        values[name] = None if problem else value
        if problem:
            problems[name] = problem
    category = " ".join((values["category"] or "").split())
    fields = encode({**values, "problems": problems})
    return _row(path, line, product_id=product_id, fields=fields, category=category)


def to_review(path: str, line: int, row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """Return a review as a row of `REVIEW_ROWS`, or as one that cannot be read."""
    product_id = read_id(look_up(row, columns.get("parent_asin", "parent_asin")))
    if product_id is None:
        return _unreadable(Malformed(path, line, "a review without a product's id"), "missing_id")
    texts = []
    for name in ("text", "title"):
        value = look_up(row, columns.get(name, name))
        problem = _problem(value)
        if problem:
            return _unreadable(Malformed(path, line, f"a review whose `{name}` is no usable text"), problem)
        texts.append(clean_text(value or ""))
    if not any(texts):
        return _unreadable(Malformed(path, line, "a review without text"), "missing_text")
    votes = look_up(row, columns.get("helpful_vote", "helpful_vote"))
    return {"product_id": product_id, "text": texts[0] or texts[1], "votes": _read_votes(votes)}


def _read_votes(value: Any) -> float:
    """Return a number of votes; what is none counts as zero, which costs a review its rank and nothing else."""
    if isinstance(value, str):
        value = float(_THOUSANDS.sub("", value)) if _COUNT.fullmatch(value.strip()) else 0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_VOTES else 0.0


def _problem(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "wrong_type"
    if len(value) > MAX_CHARACTERS:
        return "too_long"
    return None if is_text(value) else "not_utf8"


def _unreadable(malformed: Malformed, reason: str = "unreadable") -> Row:
    message = clean_message(malformed.reason)
    return _row(malformed.path, malformed.line, reason=reason, message=message)


def _count_elements(
    rows: Iterable[tuple[int, Row] | Malformed],
) -> Iterator[tuple[tuple[int, Row] | Malformed, int]]:
    """Yield each row with the number of those before it that begin on the same line."""
    line, element = 0, 0
    for row in rows:
        number = row.line if isinstance(row, Malformed) else row[0]
        element = element + 1 if number == line else 0
        line = number
        yield row, element


def _place(row: Row, element: int) -> None:
    row["element"] = element
    if row["reason"]:
        row["fingerprint"] = identify_place("unreadable", row)


def _row(path: str, line: int, **values: Any) -> Row:
    return {**dict.fromkeys(PRODUCT_ROWS.names), "path": path, "line": line, **values}


def _write_parts(
    rows: Iterable[Row], shuffle: Shuffle, part: str, schema: pa.Schema, num_buckets: int
) -> dict[str, int]:
    """Write rows in parts that fit into memory, by the bucket of their product or, without one, of themselves."""
    counts = {"num_rows": 0, "num_unreadable": 0}
    iterator = iter(rows)
    for number in itertools.count():
        held: list[tuple[int, Row]] = []
        num_characters = 0
        for row in iterator:
            counts["num_unreadable" if row.get("reason") else "num_rows"] += 1
            held.append((bucket_of(row["product_id"] or row["fingerprint"], num_buckets), row))
            num_characters += len(row.get("fields") or row.get("text") or "")
            if len(held) >= PART_ROWS or num_characters >= PART_CHARACTERS:
                break
        if not held:
            return counts
        shuffle.write(f"{part}-{number:06d}", held, schema)
    raise AssertionError("the count above does not end")
