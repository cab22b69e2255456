"""A night whose labels nobody has looked through: it ends before anything starts, with a list to look through."""

import pytest

from eshop_ray.enrichment.templates import build_templates
from eshop_ray.errors import UserError
from eshop_ray.jobs import enrich_catalog
from tests.enrichment.shop import Shop


def find_labels(config):
    return {label for template in build_templates(config).values() for label in template.labels}


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path, num_products=5)
    shop.write()
    return shop


def test_labels_are_those_of_the_config(shop):
    assert find_labels(shop.config()) == {"Garden", "Kitchen"}


def test_tasks_that_choose_nothing_need_no_labels(shop):
    assert find_labels(shop.config(catalog={}, enrich={"tasks": ["ner_tagging"]})) == set()


def test_night_without_labels_starts_nothing_and_writes_a_list_that_the_next_can_name(shop):
    config = shop.config(catalog={"path": "products.jsonl"})
    path = config.run_dir / "labels.txt"
    with pytest.raises(UserError, match=r"`classification` chooses .* the 2 categories .*catalog.labels=/.*labels.txt"):
        enrich_catalog.run(config)
    assert path.read_text().splitlines()[3:] == ["Garden\t2", "Kitchen\t3"]
    assert [file.name for file in config.run_dir.iterdir()] == ["labels.txt"]
    named = shop.config(catalog={"path": "products.jsonl", "labels": str(path)})
    assert find_labels(named) == find_labels(shop.config())


def test_list_that_may_have_been_looked_through_is_left_as_it_is(shop):
    config = shop.config(catalog={"path": "products.jsonl"})
    config.run_dir.mkdir(parents=True)
    (config.run_dir / "labels.txt").write_text("mine\n")
    with pytest.raises(UserError, match=r"stands in /.*labels.txt: look through it, and run this again with catalog"):
        find_labels(config)
    assert (config.run_dir / "labels.txt").read_text() == "mine\n"


@pytest.mark.parametrize("catalog", [{}, {"path": "products.jsonl", "columns": {"category": "department"}}])
def test_where_no_category_is_known_labels_are_listed_by_hand(shop, catalog):
    with pytest.raises(UserError, match=r"list them there, e.g. catalog.labels=\[Kitchen, Garden\]"):
        find_labels(shop.config(catalog=catalog))
