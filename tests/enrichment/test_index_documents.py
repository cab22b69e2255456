"""Catalogue, reviews and nightly table -> index, at the cost of what changed."""

import json

import numpy as np
import pytest

from eshop_ray.config import Config
from eshop_ray.data.search_index import Attribute, SearchIndex
from eshop_ray.data.search_index.document import DIMENSIONS
from eshop_ray.enrichment.documents import list_attributes, read_documents
from eshop_ray.errors import UserError
from tests.enrichment.made_answers import write_answers

PRODUCTS = [
    {"id": "p1", "name": "Steel pan", "category": "Kitchen", "description": "For <b>all</b> hobs."},
    {"id": "p2", "name": "Garden spade", "category": "Garden", "description": "Ash handle."},
    {"id": "p'3", "name": "Yoga mat", "category": "Sport", "description": None},
    {"id": "new", "name": "Not asked about yet", "category": "Sport"},
]
REVIEWS = [
    {"parent_asin": "p1", "text": f"Review {votes} of the pan, which is long", "helpful_vote": votes}
    for votes in range(5)
]
SPANS = [["Steel", "material"], ["pan", "core_product_type"], ["for", "O"]]
ANSWERS = {
    ("p1", "ner_tagging"): SPANS,
    ("p1", "summarization"): "Heats evenly.",
    ("p1", "classification"): "Kitchen",
    ("p2", "classification"): "Garden",
    ("p'3", "facts"): {"color": "blue", "material": None},
}


class Shop:
    def __init__(self, folder):
        self.folder, self.answers, self.embedded = folder, dict(ANSWERS), []
        self.config = Config.model_validate(
            {
                "name": "shop",
                "run_root": str(folder / "runs"),
                "data": {"root": str(folder)},
                "catalog": {"path": "products.jsonl"},
                "reviews": {"path": "reviews.jsonl"},
                "index": {"num_reviews": 2, "max_review_characters": 15},
            }
        )
        self.write(PRODUCTS, REVIEWS)

    def write(self, products, reviews):
        for name, rows in (("products", products), ("reviews", reviews)):
            (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_answers(self.config.table_uri, self.answers)

    def encode(self, texts):
        self.embedded += texts
        return np.eye(len(texts), DIMENSIONS, dtype=np.float32)

    def build(self):
        self.embedded.clear()
        return self.index.sync(read_documents(self.config), "encoder")

    @property
    def index(self):
        return SearchIndex(self.config.index_uri, self.encode)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_documents_join_catalogue_table_and_reviews(shop):
    shop.build()
    (pan,) = shop.index.find(["p1"])
    assert (pan.name, pan.category, pan.description, pan.summary) == (
        *("Steel pan", "Kitchen", "For all hobs."),
        "Heats evenly.",
    )
    assert {(one.name, one.value) for one in pan.attributes} == {
        ("material", "Steel"),
        ("core_product_type", "pan"),
        ("category", "Kitchen"),
    }
    assert [review.text for review in pan.reviews] == ["Review 4 of the", "Review 3 of the"]
    (mat,) = shop.index.find(["p'3"])
    assert mat.attributes == (Attribute("color", "blue", "facts", 0.935),)
    assert shop.index.find(["new", "none"]) == []


def test_a_build_costs_what_changed(shop):
    assert shop.build().num_new == 3
    again = shop.build()
    assert (again.num_unchanged, again.num_embedded, again.num_deleted) == (3, 0, 0)
    assert shop.embedded == []
    changed = [PRODUCTS[0], {**PRODUCTS[1], "name": "Snow shovel"}, *PRODUCTS[2:]]
    shop.write(changed, REVIEWS)
    assert shop.build().num_changed == 1
    assert [text.partition("\n")[0] for text in shop.embedded] == ["Snow shovel"]
    shop.answers[("p1", "summarization")] = "Burns everything."
    shop.write(changed, REVIEWS)
    assert shop.build().num_embedded == 1


def test_products_that_left_leave_with_all_their_texts(shop):
    shop.build()
    shop.answers[("p'3", "facts")] = None
    shop.write(PRODUCTS[:1] + PRODUCTS[2:], REVIEWS)
    assert shop.build().num_deleted == 2
    assert [one.id for one in shop.index.find(["p1", "p2", "p'3"])] == ["p1"]
    files = b"".join(path.read_bytes() for path in (shop.folder / "runs/shop/index").rglob("*") if path.is_file())
    assert b"Steel pan" in files
    assert b"spade" not in files


def test_the_newest_of_several_rows_wins_where_a_column_says_so(shop):
    rows = [{**PRODUCTS[1], "name": name, "day": day} for name, day in (("Old", 1), ("New", 3), ("Middle", 2))]
    shop.write([PRODUCTS[0], *rows], [])
    shop.build()
    assert shop.index.find(["p2"])[0].name == "Old"
    shop.config = shop.config.model_copy(
        update={"catalog": shop.config.catalog.model_copy(update={"newest_by": "day"})}
    )
    shop.build()
    assert shop.index.find(["p2"])[0].name == "New"


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("Kitchen", [("category", "Kitchen")]),
        ([["red", "color"], ["for", "O"], ["broken"]], [("color", "red")]),
        ({"color": "red", "size": None, "sizes": ["a"]}, [("color", "red")]),
        (None, []),
        (3, []),
        ("", []),
    ],
)
def test_attributes_of_answers(prediction, expected):
    assert [(one.name, one.value) for one in list_attributes("classification", prediction)] == expected


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"catalog\.path"):
        list(read_documents(Config.model_validate({"name": "x", "run_root": str(tmp_path)})))
    with pytest.raises(UserError, match="build-index"):
        SearchIndex(str(tmp_path / "none"), len).find(["p1"])
