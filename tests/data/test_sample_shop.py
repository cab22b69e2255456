import json
from collections import Counter

import pytest

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.rows import to_rows
from eshop_ray.data.sample_shop.products import make_product
from eshop_ray.data.sample_shop.questions import make_questions
from eshop_ray.data.sample_shop.reviews import make_reviews, summarize
from eshop_ray.data.sample_shop.write import FILES, write_sample_shop
from eshop_ray.data.sources import READERS
from eshop_ray.errors import UserError
from eshop_ray.tasks import get_task

SOURCES = {
    "catalog": "products.jsonl",
    "reviews": "review*.jsonl",
    "queryner": "queries.{split}.conll",
    "shopbench": "questions.{split}.jsonl",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_sample_shop(str(folder), num_products=300, seed=0)
    return folder


@pytest.fixture(scope="module")
def rows(shop):
    found = []
    sources = [*SOURCES.items(), ("reviews", "review_summaries.{split}.tsv")]
    for name, pattern in sources:
        for file in list_files(str(shop), pattern):
            with open_bytes(file.path) as stream:
                found += to_rows(READERS[name](stream, file.path, {}), file.path, file.split)
    return found


def test_same_seed_same_bytes(shop, tmp_path):
    write_sample_shop(str(tmp_path), num_products=300, seed=0)
    assert all((tmp_path / name).read_bytes() == (shop / name).read_bytes() for name in FILES)
    before = (tmp_path / "products.jsonl").stat().st_mtime_ns
    write_sample_shop(str(tmp_path), num_products=300, seed=0)
    assert (tmp_path / "products.jsonl").stat().st_mtime_ns == before
    write_sample_shop(str(tmp_path), num_products=300, seed=1)
    assert all((tmp_path / name).read_bytes() != (shop / name).read_bytes() for name in FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_a_larger_shop_begins_with_the_smaller(shop, tmp_path):
    write_sample_shop(str(tmp_path), num_products=10, seed=0)
    assert (shop / "products.jsonl").read_text().startswith((tmp_path / "products.jsonl").read_text())


def test_every_row_is_read_and_every_task_has_enough(rows):
    assert all("reason" not in row and row["repaired"] is None for row in rows)
    counts = Counter((row["task"], row["split"]) for row in rows if row["split"])
    for task in ("ner_tagging", "ner", "multiple_choice", "retrieval", "ranking", "generation"):
        assert counts[task, "train"] >= 150
        assert counts[task, "dev"] >= 30
    assert 1500 <= len(rows) <= 3000


def test_splits_share_no_content(rows):
    by_split = {split: {row["content"] for row in rows if row["split"] == split} for split in ("train", "dev")}
    assert by_split["train"].isdisjoint(by_split["dev"])


def test_gold_answers_survive_their_task(rows):
    for row in rows:
        task, target = get_task(row["task"]), json.loads(row["target"])
        if row["task"] in ("ner", "multiple_choice", "retrieval"):
            assert task.parse(task.format_target(target)) == target


def test_entities_stand_in_the_title():
    for number in range(200):
        for question in make_questions(0, make_product(0, number)):
            if question["task_name"] == "attribute_extraction":
                assert all(span in question["input_field"] for span in question["output_field"])


def test_names_and_texts_vary():
    products = [make_product(0, number) for number in range(300)]
    assert len({product.title for product in products}) >= 298
    assert len({product.kind.category for product in products}) >= 8
    assert {"brand", "color", "material", "size", "description"} - set(products[0].to_row()) == set()
    assert any("brand" not in product.to_row() for product in products)
    texts = [review.text for product in products for review in make_reviews(0, product, 2)]
    assert len(set(texts)) > 0.97 * len(texts)


def test_stars_and_summaries_follow_from_opinions():
    for number in range(100):
        reviews = make_reviews(0, make_product(0, number), 8)
        for review in reviews:
            praised = [good for _, good in review.opinions]
            assert (review.rating >= 4) == (sum(praised) > len(praised) / 2)
        told = {aspect.good if good else aspect.bad for r in reviews for aspect, good in r.opinions}
        assert all(any(words in summary for words in told) for summary in summarize(reviews))


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"set `data\.root` to a folder"):
        write_sample_shop(str(tmp_path / "file"), 1, 0)
    with pytest.raises(UserError, match="written to local folders"):
        write_sample_shop("s3://shop", 1, 0)
