"""Nights that ask in a shop's own words, on real Ray and a real Delta table."""

import json
import shutil

import polars as pl
import pytest

from eshop_ray.enrichment.estimate import estimate_night
from eshop_ray.enrichment.table import Table, Writer
from eshop_ray.enrichment.tables import enriched_table
from eshop_ray.errors import UserError
from eshop_ray.models import Model
from tests.enrichment.shop import Shop, product

pytestmark = pytest.mark.usefixtures("ray_session")

ATTRIBUTES = {"Kitchen": {"color": ["red", "blue"], "material": None}, "*": {"size": None}}
QUESTIONS = {
    "facts": {"task": "attributes", "attributes": ATTRIBUTES},
    "farbe": {"task": "classification", "instruction": "Welche Farbe?", "labels": ["rot", "blau"]},
}
TASKS = ["classification", "farbe", "facts"]


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path, num_products=8)


def ask(shop, **questions):
    enrich = {"max_quarantined_share": 1.0, "max_changed_share": 1.0, "tasks": TASKS}
    return shop.night(enrich={**enrich, "questions": {**QUESTIONS, **questions}})


def record_of(shop, run_id):
    return json.loads((shop.folder / "runs" / "shop" / "enrichment" / f"{run_id}.json").read_text())


def test_each_row_says_by_which_prompt_it_was_asked(shop):
    assert ask(shop)["num_new"] == 24
    rows = shop.rows()
    facts = json.loads(rows["p0", "facts"]["prediction"])  # a product of the kitchen
    assert facts.keys() == {"color", "material"}
    assert rows["p0", "facts"]["entities"] == [
        {"text": text, "type": name} for name, text in facts.items() if text is not None
    ]
    assert json.loads(rows["p1", "facts"]["prediction"]).keys() == {"size"}
    assert {row["text"] for (_, task), row in rows.items() if task == "farbe"} <= {"rot", "blau"}
    prompts = record_of(shop, rows["p0", "facts"]["run_id"])["prompts"]
    asked = {key: prompts[row["prompt_id"]]["question"] for key, row in rows.items()}
    assert asked == {key: key[1] for key in rows}
    assert len(prompts) == 4
    assert prompts[rows["p1", "farbe"]["prompt_id"]]["messages"][0]["content"] == "Welche Farbe?"


@pytest.mark.slow  # four nights; what other words change is planned without Ray
def test_other_words_ask_again_by_that_question_only_and_attributes_by_that_category_only(shop):
    ask(shop)
    before = shop.rows()
    stats = ask(shop, farbe={**QUESTIONS["farbe"], "language": "German"})
    assert (stats["num_changed"], stats["num_inferred"], stats["num_unchanged"]) == (8, 8, 16)
    after = shop.rows()
    assert {task for key, task in after if before[key, task]["prompt_id"] != after[key, task]["prompt_id"]} == {"farbe"}
    attributes = {**ATTRIBUTES, "Kitchen": {"color": None}}
    stats = ask(
        shop,
        facts={"task": "attributes", "attributes": attributes},
        farbe={**QUESTIONS["farbe"], "language": "German"},
    )
    assert (stats["num_changed"], stats["num_inferred"]) == (4, 4)


def test_question_of_another_name_takes_its_answers_along(shop):
    tasks = {"max_quarantined_share": 1.0, "max_deleted_share": 1.0}
    shop.night(enrich={**tasks, "tasks": ["farbe"], "questions": QUESTIONS})
    before = shop.rows()["p0", "farbe"]
    night = shop.night(enrich={**tasks, "tasks": ["colour"], "questions": {"colour": QUESTIONS["farbe"]}})
    assert (night["num_inferred"], night["num_new"], night["num_deleted"]) == (0, 8, 8)
    row = shop.rows()["p0", "colour"]
    assert (row["prediction"], row["prompt_id"], row["run_id"]) == (
        before["prediction"],
        before["prompt_id"],
        before["run_id"],
    )


def test_rows_in_trouble_say_which_prompt_was_tried(shop):
    shop.products[0] = {**shop.products[0], "name": 5}
    shop.faults = {"reject_on": "scarf 1"}
    ask(shop)
    rows = shop.rows()
    assert rows["p0", "farbe"]["status"] == rows["p1", "farbe"]["status"] == "quarantined"
    assert {rows[f"p{number}", "farbe"]["prompt_id"] for number in range(8)} == {rows["p2", "farbe"]["prompt_id"]}
    assert rows["p2", "farbe"]["prompt_id"]


def test_column_that_no_product_has_is_refused_before_anything_is_asked(shop):
    with pytest.raises(UserError, match=r"`enrich.questions.farbe.fields`: no product has a column `brnad`; not"):
        ask(shop, farbe={**QUESTIONS["farbe"], "fields": ["name", "brnad"]})
    assert shop.rows() == {}


@pytest.mark.slow  # table/test_table.py widens a table without nights
def test_table_of_an_earlier_version_gets_the_column_and_nothing_is_asked_for_that(shop):
    shop.night()
    forget_prompts(shop)
    assert "prompt_id" not in pl.read_delta(shop.config().table_uri).columns
    shop.products[3] = product(3, name="blue scarf 3")
    shop.write()
    estimate = estimate_night(shop.config(), Model(None, "model"))
    night = shop.night()
    assert night["num_inferred"] == estimate["questions"] == 2
    prompts = {key: row["prompt_id"] for key, row in shop.rows().items()}
    assert {key for key, prompt_id in prompts.items() if prompt_id} == {("p3", "ner_tagging"), ("p3", "classification")}
    assert shop.night()["num_inferred"] == 0


def forget_prompts(shop):
    """Write the table again as an earlier version made it, without the column `prompt_id`."""
    table = enriched_table(shop.config().table_uri)
    schema = table.schema.remove(table.schema.get_field_index("prompt_id"))
    former = Table(f"{table.uri}_former", schema, table.partition_by)
    former.create(1)
    writer = Writer(former, "former")
    files = [former.write_rows(table.read_file(file), file.partition, "former") for file in table.snapshot().files]
    writer.commit(files, [])
    shutil.rmtree(table.uri)
    shutil.move(former.uri, table.uri)
