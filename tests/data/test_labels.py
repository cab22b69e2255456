"""Lists of labels: what a config or a file names, and the list that is made for a person to look through."""

import gzip
import json
from collections import Counter

import pytest

from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.labels import choose_labels, count_categories, read_lines, write_proposal
from eshop_ray.errors import UserError

OPTIONS = CatalogOptions()
GOOGLE = "# Google_Product_Taxonomy_Version: 2021-09-21\n1 - Animals\n3237 - Animals > Live Animals\n166 - Apparel\n"
SHOPIFY = (
    "# Shopify Product Taxonomy\n\ngid://shopify/TaxonomyCategory/ap : Animals\ngid://shopify/A/ap-1 : Animals > Pets\n"
)


def choose(given, folder=".", **options):
    return choose_labels("catalog.labels", given, str(folder), CatalogOptions(**options))


def test_labels_of_the_config_are_taken_each_once_in_their_order():
    assert choose(["b", " a  b ", "b"]) == ("b", "a b")
    assert choose(()) == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "# looked through by me\nKitchen\n\n  Home > Garden \t12\n"),
        ("labels.csv", "label,count\nKitchen,3\nHome > Garden,12\n"),
        ("labels.jsonl", '{"id": 1, "path": "Kitchen"}\n{"id": 2, "path": "Home > Garden"}\n'),
        ("labels.yaml", "- {name: Kitchen}\n- {name: Home > Garden}\n"),
    ],
)
def test_file_lists_labels_in_any_format(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert choose(name, tmp_path) == choose(str(tmp_path / name)) == ("Kitchen", "Home > Garden")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    assert choose(f"{name}.gz", tmp_path, category="leaf") == ("Kitchen", "Garden")


@pytest.mark.parametrize(("text", "labels"), [(GOOGLE, 3), (SHOPIFY, 2)])
def test_published_taxonomies_come_without_their_numbers(text, labels):
    found = read_lines(text)
    assert len(found) == labels
    assert found[:1] == ["Animals"]
    assert all(" - " not in label and "gid" not in label for label in found)


def test_numbers_in_other_lists_are_a_part_of_their_label():
    assert read_lines("1 - Kitchen\n2 - Garden\n") == ["1 - Kitchen", "2 - Garden"]
    assert read_lines("3 - seater sofas\nChairs\n# chairs\n") == ["3 - seater sofas", "Chairs", "# chairs"]


def test_level_of_a_taxonomy_makes_it_short_enough(tmp_path):
    lines = [f"Root {number % 3} > Kind {number}" for number in range(300)]
    (tmp_path / "taxonomy.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"`catalog.labels` \(taxonomy.txt\): 300 labels, a prompt holds 200; .*=1"):
        choose("taxonomy.txt", tmp_path)
    assert choose("taxonomy.txt", tmp_path, category=1) == ("Root 0", "Root 1", "Root 2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", b"# nothing\n", r"`catalog.labels` \(l.txt\): there is no label in it"),
        ("l.json", b'[{"title": "Kitchen"}]', r"l.json:1: no label; name the column label, category, path or name, or"),
        ("l.jsonl", b'{"label": "a"}\nnot JSON\n', r"l.jsonl:2: .*; a list of labels has to be sound"),
        ("l.jsonl", b'{"label": "\\ud800"}\n', r"a label is empty, or no text"),
    ],
)
def test_file_that_is_no_list_of_labels_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        choose(name, tmp_path)


def test_empty_label_is_refused():
    with pytest.raises(UserError, match=r"`catalog\.labels`: a label is empty"):
        choose(["a", " "])


def test_categories_are_counted_over_all_files_however_they_are_written(tmp_path):
    rows = [{"id": "a", "category": "B"}, {"id": "b", "category": "A\n c"}, {"id": "c"}, {"id": "d", "category": ""}]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mixed.jsonl").write_text(
        "".join(json.dumps({**row, "price": 5}) + "\n" for row in rows) + '{"id": 5}\n3'
    )
    (tmp_path / "typed.jsonl").write_text('{"id": "a", "category": 5}\n{"id": "b", "category": "B"}\n')
    files = [str(tmp_path / f"{name}.jsonl") for name in ("plain", "mixed", "typed")]
    assert count_categories(files, OPTIONS) == {"B": 3, "A c": 2}


def test_proposal_is_read_as_it_was_written_remarks_and_counts_left_away(tmp_path):
    path = tmp_path / "run" / "labels.txt"
    write_proposal(path, Counter({"# new": 1, "Kitchen": 7, "1 - Garden": 2}))
    assert path.read_text().splitlines()[-1] == "Kitchen\t7"
    assert choose(str(path)) == ("# new", "1 - Garden", "Kitchen")
