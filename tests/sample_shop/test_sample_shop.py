import copy
import json
import tracemalloc
from collections import Counter, defaultdict

import pytest

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.rows import to_rows
from eshop_ray.data.sources import READERS
from eshop_ray.errors import UserError
from eshop_ray.sample_shop.catalog_reviews import MAX_REVIEWS, write_reviews
from eshop_ray.sample_shop.changes import change_products
from eshop_ray.sample_shop.products import make_product
from eshop_ray.sample_shop.questions import make_questions
from eshop_ray.sample_shop.reviews import describe, make_reviews, summarize
from eshop_ray.sample_shop.write import FILES, write_sample_shop
from eshop_ray.tasks import get_task

SOURCES = {
    "catalog": "products.{split}.jsonl",
    "reviews": "reviews.{split}.jsonl",
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
    before = (tmp_path / "products.train.jsonl").stat().st_mtime_ns
    write_sample_shop(str(tmp_path), num_products=300, seed=0)
    assert (tmp_path / "products.train.jsonl").stat().st_mtime_ns == before
    write_sample_shop(str(tmp_path), num_products=300, seed=1)
    assert all((tmp_path / name).read_bytes() != (shop / name).read_bytes() for name in FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_a_larger_shop_begins_with_the_smaller(shop, tmp_path):
    write_sample_shop(str(tmp_path), num_products=10, seed=0)
    assert (shop / "products.train.jsonl").read_text().startswith((tmp_path / "products.train.jsonl").read_text())


def test_every_row_is_read_and_every_task_has_enough(rows):
    assert all("reason" not in row and row["repaired"] is None for row in rows)
    counts = Counter((row["task"], row["split"]) for row in rows if row["split"])
    for task in ("ner_tagging", "ner", "multiple_choice", "retrieval", "ranking", "generation"):
        assert counts[task, "train"] >= 40
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
    texts = [review.text for product in products for review in make_reviews(0, describe(product), 2)]
    assert len(set(texts)) > 0.97 * len(texts)


def test_stars_and_summaries_follow_from_opinions():
    for number in range(100):
        reviews = make_reviews(0, describe(make_product(0, number)), 8)
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


def make_catalog(num_products, category="groceries"):
    """Products of a shop that the generator does not know."""
    return [
        {"id": f"p{number}", "name": f"Organic Plum Jam, {number} g", "category": category, "price": 4.5}
        for number in range(num_products)
    ]


def read_reviews(path, rows, seed=0):
    num_reviews = write_reviews(rows, path, seed)
    reviews = defaultdict(list)
    for line in path.read_text().splitlines():
        review = json.loads(line)
        reviews[review["parent_asin"]].append(review)
    assert sum(map(len, reviews.values())) == num_reviews
    return dict(reviews)


def test_reviews_of_any_catalog_are_read_by_the_source(tmp_path):
    path = tmp_path / "reviews.jsonl"
    reviews = read_reviews(path, make_catalog(200))
    with open_bytes(str(path)) as stream:
        rows = list(to_rows(READERS["reviews"](stream, str(path), {}), str(path), None))
    assert len(rows) == sum(map(len, reviews.values()))
    assert all("reason" not in row and row["repaired"] is None for row in rows)


def test_reviews_differ_in_number_votes_and_text(tmp_path):
    reviews = read_reviews(tmp_path / "reviews.jsonl", make_catalog(200))
    counts = Counter(map(len, reviews.values()))
    assert set(counts) == set(range(1, MAX_REVIEWS + 1))
    assert 5 <= 200 - len(reviews) <= 50
    rows = [review for product in reviews.values() for review in product]
    assert len({row["helpful_vote"] for row in rows}) > 4
    assert len({row["text"] for row in rows}) > 0.85 * len(rows)
    assert any("jam" in row["text"] for row in rows)


def test_reviews_follow_from_seed_and_product_alone(tmp_path):
    rows = make_catalog(50)
    reviews = read_reviews(tmp_path / "a", rows)
    described = [{**row, "description": "Sweet."} for row in rows[::-2]]
    assert read_reviews(tmp_path / "b", described).items() <= reviews.items()
    assert read_reviews(tmp_path / "c", rows, seed=1) != reviews


def test_known_categories_have_opinions_of_their_own(tmp_path):
    electronics = read_reviews(tmp_path / "a", make_catalog(50, "electronics"))
    texts = " ".join(review["text"] for product in electronics.values() for review in product)
    assert "was ready in two minutes" in texts
    assert "was ready in two minutes" not in json.dumps(read_reviews(tmp_path / "b", make_catalog(50)))


@pytest.mark.parametrize("row", [{}, {"id": None}, {"id": "", "name": "x"}])
def test_products_without_an_id_have_no_reviews(tmp_path, row):
    assert read_reviews(tmp_path / "reviews.jsonl", [row]) == {}


@pytest.mark.parametrize("name", ["", None, "12 x 14", "???", 7])
def test_a_name_may_say_nothing(tmp_path, name):
    rows = [{"id": number, "name": name, "category": None} for number in range(20)]
    assert read_reviews(tmp_path / "reviews.jsonl", rows)


def test_reviews_are_streamed(tmp_path):
    def measure(num_products):
        rows = ({"id": f"p{number}", "name": "Jam", "category": "x"} for number in range(num_products))
        tracemalloc.start()
        write_reviews(rows, tmp_path / "reviews.jsonl", 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    measure(10)
    assert measure(2000) < measure(200) + 100_000


def test_failed_reviews_leave_the_old_file(tmp_path):
    path = tmp_path / "reviews.jsonl"
    write_reviews(make_catalog(5), path, 0)
    before = path.read_bytes()

    def break_off():
        yield from make_catalog(3)
        raise KeyError("id")

    with pytest.raises(KeyError):
        write_reviews(break_off(), path, 0)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="name a file in a folder that you may write"):
        write_reviews([], path / "below", 0)


def test_next_night_has_so_many_changes():
    rows = make_catalog(300)
    before = copy.deepcopy(rows)
    night = change_products(rows, seed=1, share=0.1, num_added=7, num_removed=5)
    assert rows == before
    old, new = ({row["id"]: row for row in shop} for shop in (rows, night))
    assert (len(new), len(night)) == (302, 302)
    assert new.keys() - old.keys() == {row["id"] for row in night[-7:]}
    changed = [(old[key], new[key]) for key in old.keys() & new.keys() if old[key] != new[key]]
    assert len(changed) == 30
    assert sum(one["name"] != other["name"] for one, other in changed) == 15
    assert len({row["description"] for row in night if "description" in row}) == 37
    assert all(one.keys() | {"description"} == other.keys() for one, other in changed)
    assert [row["id"] for row in night[:-7]] == [key for key in old if key in new]


def test_same_seed_same_night():
    rows = make_catalog(100)
    night = change_products(rows, 1, 0.1, 3, 3)
    assert night == change_products(rows, 1, 0.1, 3, 3)
    assert night != change_products(rows, 2, 0.1, 3, 3)
    third = change_products(night, 1, 0.1, 3, 3)
    assert len({row["id"] for row in third}) == len(third) == 100


def test_no_change_is_no_change():
    rows = make_catalog(10)
    assert change_products(rows, 0, 0.0, 0, 0) == rows
    assert change_products([], 0, 0.5, 0, 0) == []
    assert change_products(rows, 0, 0.0, 0, 10) == []


@pytest.mark.parametrize(("num_rows", "num_added", "num_removed"), [(10, 0, 6), (0, 1, 0)])
def test_too_small_a_shop_is_said(num_rows, num_added, num_removed):
    with pytest.raises(UserError, match=f"{num_rows} products are too few to change {num_rows // 2}, remove"):
        change_products(make_catalog(num_rows), 0, 0.5, num_added, num_removed)
