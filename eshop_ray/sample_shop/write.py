"""The sample shop's files. Products are made and written one at a time, so the shop may have any size."""

import filecmp
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from eshop_ray.errors import UserError
from eshop_ray.sample_shop.products import make_product, make_rng
from eshop_ray.sample_shop.queries import make_query
from eshop_ray.sample_shop.questions import make_questions
from eshop_ray.sample_shop.reviews import NUM_REVIEWS, Review, describe, make_reviews, summarize, to_rating_row

SPLITS = ("train", "dev")
FILES = (
    "products.jsonl",
    "reviews.jsonl",
    *(
        name.format(split=split)
        for name in ("review_summaries.{split}.tsv", "queries.{split}.conll", "questions.{split}.jsonl")
        for split in SPLITS
    ),
)

_DEV_SHARE = 6
"""One content in so many is for dev."""

_SUMMARY_SHARE = 0.4
"""Share of the products whose reviews are summarized."""

_HEADER = (
    "cat",
    "group_id",
    *(f"rev{number}" for number in range(1, NUM_REVIEWS + 1)),
    *(f"summ{number}" for number in range(1, 4)),
    *(f"rating{number}" for number in range(1, NUM_REVIEWS + 1)),
)


def write_sample_shop(folder: str, num_products: int, seed: int) -> dict[str, int]:
    """Write `FILES` in their public formats and return the number of rows of each.

    The same seed gives the same products, whatever their number, and the same bytes. Which split a row goes to
    follows from its content, so that no content stands in two splits.

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
        streams[f"review_summaries.{split}.tsv"].write("\t".join(_HEADER) + "\n")


def _rows(seed: int, num_products: int) -> Iterator[tuple[str, str]]:
    """Yield (file, text of one row)."""
    for number in range(num_products):
        product = make_product(seed, number)
        rng = make_rng(seed, "shop", number)
        yield "products.jsonl", _json_line(product.to_row())
        subject = describe(product)
        reviews = make_reviews(seed, subject, NUM_REVIEWS)
        for position, review in enumerate(reviews[: rng.choice((0, 1, 1, 2, 2))]):
            yield "reviews.jsonl", _json_line(to_rating_row(seed, subject, position, review))
        if rng.random() < _SUMMARY_SHARE:
            text = _summary_line(product.kind.category, product.id, reviews)
            yield f"review_summaries.{_draw_split(text)}.tsv", text
        tagged = make_query(seed, product)
        split = _draw_split(" ".join(token for token, _ in tagged))
        yield f"queries.{split}.conll", "".join(f"{token}\t{tag}\n" for token, tag in tagged) + "\n"
        for question in make_questions(seed, product):
            split = _draw_split(question["input_field"])
            yield f"questions.{split}.jsonl", _json_line(question)


def _draw_split(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return "dev" if int.from_bytes(digest[:4], "big") % _DEV_SHARE == 0 else "train"


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _summary_line(category: str, product_id: str, reviews: Sequence[Review]) -> str:
    cells = [category.lower(), product_id, *(review.text for review in reviews), *summarize(reviews)]
    return "\t".join([*cells, *(str(review.rating) for review in reviews)]) + "\n"
