"""The sample shop's files. Products are made and written one at a time, so the shop may have any size."""

import filecmp
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from eshop_ray.errors import UserError
from eshop_ray.sample_shop.products import Product, make_product, make_rng
from eshop_ray.sample_shop.queries import make_query
from eshop_ray.sample_shop.questions import make_questions
from eshop_ray.sample_shop.reviews import NUM_REVIEWS, Review, describe, make_reviews, summarize, to_rating_row
from eshop_ray.sample_shop.splits import SPLITS

PRODUCTS, REVIEWS, SUMMARIES = "products.{split}.jsonl", "reviews.{split}.jsonl", "review_summaries.{split}.tsv"
QUERIES, QUESTIONS = "queries.{split}.conll", "questions.{split}.jsonl"
FILES = tuple(
    name.format(split=split) for name in (PRODUCTS, REVIEWS, SUMMARIES, QUERIES, QUESTIONS) for split in SPLITS
)

_SUMMARY_SHARE = {"train": 0.25, "dev": 1.0}
"""Share of the products whose reviews are summarized."""
_QUERY_SHARE = {"train": 0.6, "dev": 1.0}
"""Share of the products with a tagged query."""
_REVIEW_COUNTS = {"train": (1, 1, 2, 2), "dev": (1, 1, 1, 2)}
"""How many reviews a product may have in the reviews' file."""

_HEADER = (
    "cat",
    "group_id",
    *(f"rev{number}" for number in range(1, NUM_REVIEWS + 1)),
    *(f"summ{number}" for number in range(1, 4)),
    *(f"rating{number}" for number in range(1, NUM_REVIEWS + 1)),
)


def write_sample_shop(folder: str, num_products: int, seed: int) -> dict[str, int]:
    """Write `FILES` in their public formats and return the number of rows of each.

    The same seed gives the same products, whatever their number, and the same bytes. All that is known of a product
    goes to one split (`find_split`), and held-out products share neither wording nor brand with the others.

    Raises:
        UserError: if the folder is not local or cannot be written.
    """
    if "://" in folder:
        raise UserError(f"{folder}: the sample shop is written to local folders; set `data.root` to one")
    root = Path(folder).expanduser()
    num_rows = dict.fromkeys(FILES, 0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        staged = {name: root / f".{name}.partial" for name in FILES}
        with ExitStack() as stack:
            streams = {name: stack.enter_context(path.open("w", newline="\n")) for name, path in staged.items()}
            _write_headers(streams)
            for name, text in _rows(seed, num_products):
                streams[name].write(text)
                num_rows[name] += 1
        for name, path in staged.items():
            _put_in_place(path, root / name)
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}; set `data.root` to a folder you may write") from error
    return num_rows


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as they come, whole or not at all, and return their number; the same bytes keep the file as it is.

    Raises:
        UserError: if the file cannot be written.
    """
    staged = path.with_name(f".{path.name}.partial")
    num_rows = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged.open("w", newline="\n", encoding="utf-8") as stream:
            for row in rows:
                stream.write(_json_line(row))
                num_rows += 1
        _put_in_place(staged, path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file in a folder that you may write") from error
    return num_rows


def _put_in_place(staged: Path, path: Path) -> None:
    """Replace a file, unless it is the same already: jobs notice changed files by their time."""
    if path.exists() and filecmp.cmp(staged, path, shallow=False):
        staged.unlink()
    else:
        staged.replace(path)


def _write_headers(streams: Mapping[str, TextIO]) -> None:
    for split in SPLITS:
        streams[SUMMARIES.format(split=split)].write("\t".join(_HEADER) + "\n")


def _rows(seed: int, num_products: int) -> Iterator[tuple[str, str]]:
    """Yield (file, text of one row)."""
    for number in range(num_products):
        product = make_product(seed, number)
        for name, text in _rows_of(seed, product):
            yield name.format(split=product.split), text


def _rows_of(seed: int, product: Product) -> Iterator[tuple[str, str]]:
    """Yield (file with its split left open, text of one row) for all that the shop knows about a product."""
    rng = make_rng(seed, "shop", product.number)
    yield PRODUCTS, _json_line(product.to_row())
    subject = describe(product)
    reviews = make_reviews(seed, subject, NUM_REVIEWS)
    for position, review in enumerate(reviews[: rng.choice(_REVIEW_COUNTS[product.split])]):
        yield REVIEWS, _json_line(to_rating_row(seed, subject, position, review))
    if rng.random() < _SUMMARY_SHARE[product.split]:
        yield SUMMARIES, _summary_line(product.kind.category, product.id, reviews)
    if rng.random() < _QUERY_SHARE[product.split]:
        tagged = make_query(seed, product)
        yield QUERIES, "".join(f"{token}\t{tag}\n" for token, tag in tagged) + "\n"
    for question in make_questions(seed, product):
        yield QUESTIONS, _json_line(question)


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _summary_line(category: str, product_id: str, reviews: Sequence[Review]) -> str:
    cells = [category.lower(), product_id, *(review.text for review in reviews), *summarize(reviews)]
    return "\t".join([*cells, *(str(review.rating) for review in reviews)]) + "\n"
