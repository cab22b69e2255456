"""What the sample shop keeps from training, and that no constant answer scores well on it."""

import json
import re
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import pytest

from eshop_ray.config import load_config
from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.data.sources import READERS
from eshop_ray.sample_shop import products, queries, questions, reviews
from eshop_ray.sample_shop.aspects import BY_CATEGORY, SHARED
from eshop_ray.sample_shop.products import make_product
from eshop_ray.sample_shop.splits import SPLITS, find_split
from eshop_ray.sample_shop.vocabulary import BRANDS
from eshop_ray.sample_shop.write import write_sample_shop
from eshop_ray.tasks.metrics import get_metric

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    *("attribute_choice", "attribute_extraction", "title_generation", "query_retrieval", "query_product_ranking"),
    *("ner_tagging", "product_category", "review_rating", "summarization"),
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Split -> group -> records of the shop that `make demo` writes."""
    config = load_config(str(ROOT / "eshop_ray" / "configs" / "demo.yaml"))
    folder = tmp_path_factory.mktemp("demo_shop")
    write_sample_shop(str(folder), config.data.num_products, config.seed)
    found = {split: defaultdict(list) for split in SPLITS}
    for source in config.data.sources:
        for file in list_files(str(folder), source.path):
            with open_bytes(file.path) as stream:
                for record in READERS[source.format](stream, file.path, source.options):
                    found[file.split][record.get("group") or record["task"]].append(record)
    return found


@pytest.fixture(scope="module")
def texts(records):
    """Split -> all that a model is asked about its products."""
    return {
        split: [
            json.dumps({key: value for key, value in record.items() if key != "target"}, ensure_ascii=False)
            for rows in groups.values()
            for record in rows
        ]
        for split, groups in records.items()
    }


def test_every_group_has_rows_enough_to_mean_something(records):
    assert records["dev"].keys() == records["train"].keys() == GROUPS
    counts = {group: len(rows) for group, rows in records["dev"].items()}
    assert min(counts.values()) >= 60, counts


def test_a_product_belongs_to_one_split_whatever_the_size_of_the_shop(records):
    ids = {split: {row["id"] for row in records[split]["product_category"]} for split in SPLITS}
    assert ids["train"].isdisjoint(ids["dev"])
    assert all(
        make_product(0, int(name.removeprefix("SKU-"))).split == split for split in SPLITS for name in ids[split]
    )


def test_options_of_a_question_are_products_of_its_own_split(records):
    for split, other in (("train", "dev"), ("dev", "train")):
        for group in ("attribute_choice", "query_retrieval", "query_product_ranking"):
            prompts = " ".join(row["prompt"] for row in records[split][group])
            assert not [brand for brand in BRANDS[other] if brand in prompts]


def test_training_never_sees_a_held_out_product(texts):
    seen = "\n".join(texts["train"])
    held_out = [product for number in range(240) if (product := make_product(0, number)).split == "dev"]
    assert len(held_out) == 80
    assert not [product.title for product in held_out if product.title in seen]
    assert not [product.listing for product in held_out if product.listing in seen]


def find_fixed_parts(frame):
    """Words of a frame between what is filled in, as they stand in a JSON text."""
    parts = re.split(r"\{\w+\}", json.dumps(frame)[1:-1])
    return [part.strip(" .'") for part in parts if len(part.strip(" .'")) > 7]


def list_wordings(split):
    frames = [
        *questions._ENTITY_FRAMES[split],
        *questions._CHOICE_FRAMES[split],
        *questions._RETRIEVAL_FRAMES[split],
        *questions._RANKING_FRAMES[split],
        *questions._TITLE_FRAMES[split],
        *products._MATERIALS[split],
        *products._CLOSINGS[split],
        *(
            phrase
            for table in (reviews._CLOSINGS, reviews._TITLES)
            for phrases in table[split].values()
            for phrase in phrases
        ),
        *queries.QUANTITIES[split],
        *queries.CONDITIONS[split],
    ]
    aspects = [*SHARED, *(aspect for aspects in BY_CATEGORY.values() for aspect in aspects)]
    return [*frames, *(phrase for aspect in aspects for good in (True, False) for phrase in aspect.word(good, split))]


@pytest.mark.parametrize(("split", "other"), [("train", "dev"), ("dev", "train")])
def test_no_wording_of_one_split_stands_in_the_other(texts, split, other):
    seen = "\n".join(texts[other])
    shared = {"\\nOutput:", "\\nTitle:", "\\nProduct:", "\\nAnswer:"}
    parts = {part for frame in list_wordings(split) for part in find_fixed_parts(frame)} - shared
    parts = {part for part in parts if not part.startswith("\\n")}
    assert len(parts) > 30
    assert not [part for part in parts if part in seen]


def test_held_out_wordings_are_used(texts):
    asked = "\n".join(texts["dev"])
    used = [phrase for phrase in list_wordings("dev") if all(part in asked for part in find_fixed_parts(phrase))]
    assert len(used) > 0.75 * len(list_wordings("dev"))


@pytest.mark.parametrize("split", SPLITS)
def test_right_answers_take_every_position_equally_often(records, split):
    groups = records[split]
    check = partial(check_balance, slack=0.35)
    check([row["target"] for row in groups["attribute_choice"]], range(4))
    check([row["target"].index(3) + 1 for row in groups["query_product_ranking"]], range(1, 6))
    check([number for row in groups["query_retrieval"] for number in row["target"]], range(7))


def check_balance(found, expected, slack):
    counts = Counter(found)
    assert counts.keys() == set(expected)
    even = len(found) / len(expected)
    assert all((1 - slack) * even <= count <= (1 + slack) * even for count in counts.values()), counts


@pytest.mark.parametrize("split", SPLITS)
def test_no_number_of_stars_is_a_good_guess(records, split):
    counts = Counter(row["target"] for row in records[split]["review_rating"])
    assert counts.keys() == set("12345")
    assert max(counts.values()) < 0.33 * counts.total()


def test_no_constant_answer_chooses_or_ranks_well(records):
    choices = [row["target"] for row in records["dev"]["attribute_choice"]]
    best = max(get_metric("accuracy").aggregate(choices, [number] * len(choices)) for number in range(4))
    assert best < 0.33
    rankings = [row["target"] for row in records["dev"]["query_product_ranking"]]
    in_order = get_metric("ndcg").aggregate(rankings, [[1, 2, 3, 4, 5]] * len(rankings))
    assert in_order < 0.75
    found = [row["target"] for row in records["dev"]["query_retrieval"]]
    assert get_metric("hit rate@3").aggregate(found, [[0, 1, 2]] * len(found)) < 0.5


def test_a_choice_can_be_answered_from_its_title(records):
    for row in (*records["train"]["attribute_choice"], *records["dev"]["attribute_choice"]):
        title = re.search(r"Product: (.*)\n0\. ", row["prompt"])[1].lower()
        options = re.findall(r"^\d\. (.*)$", row["prompt"], re.MULTILINE)
        stated = [number for number, option in enumerate(options) if option.lower() in title]
        assert stated == [row["target"]]


def test_relevance_can_be_read_from_the_listings(records):
    for row in (*records["train"]["query_product_ranking"], *records["dev"]["query_product_ranking"]):
        query = re.search(r"'(.*?)'", row["prompt"])[1]
        options = re.findall(r"^\d\. (.*)$", row["prompt"], re.MULTILINE)
        kinds = [option.split(",")[0] for option in options]
        is_kind = [query.endswith(kind) for kind in kinds]
        is_color = [query.removesuffix(kind).strip() in option for kind, option in zip(kinds, options, strict=True)]
        pairs = zip(is_kind, is_color, strict=True)
        assert [3 if kind and color else 2 if kind else 0 for kind, color in pairs] == row["target"]


def test_every_third_product_is_held_out():
    assert [find_split(number) for number in range(6)] == ["train", "train", "dev"] * 2
