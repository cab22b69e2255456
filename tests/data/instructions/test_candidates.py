"""A bucket of material -> candidates: in which language, by which metric, and under which id; without Ray."""

from collections import Counter

import pytest

from eshop_ray.config import Config
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA, Context, build_candidates
from eshop_ray.data.instructions.material import Instruction, Judgement, Product, Review, Session, Translation
from eshop_ray.data.instructions.plan import plan_recipe
from eshop_ray.data.instructions.render import UNASKED, UNWORDED

NAMES = ("Becher", "Flasche", "Lampe", "Uhr", "Decke", "Zelt", "Tisch", "Stuhl")


def build(folder, material, **entry):
    """Return the candidates that an entry makes of material."""
    (folder / "shop.jsonl").write_text("{}")
    sources = {"shop": {"format": "products", "path": "shop.jsonl", "licence": "MIT"}}
    values = {"sources": sources, "subtasks": [{"source": "shop", **entry}], "eval_share": 0.0}
    plan = plan_recipe(Config.model_validate({"name": "run", "data": {"root": str(folder)}, "instructions": values}))
    context = Context(plan, Counter({entry["name"]: len(material)}))
    rows = list(build_candidates("shop", material, context))
    assert all(set(row) <= set(CANDIDATE_SCHEMA.names) and row["id"] for row in rows)
    return rows


def tell(rows, *columns):
    return {tuple(row.get(column) for column in columns) for row in rows}


def list_products(language):
    told = "Ein gutes Ding, das viele Jahre lang halten wird und nie zerbricht."
    return [
        Product(id=name, language=language, title=f"Nordvik {name}", category=f"Haus > {name}n", description=told)
        for name in NAMES
    ]


def test_material_is_asked_about_in_its_own_language(tmp_path):
    rows = build(tmp_path, list_products("de"), name="category_classification")
    assert tell(rows, "language", "route", "removed") == {("de", "multilingual", None)}
    assert not any(word in row["messages"][1]["content"] for row in rows for word in ("product", "category", "Which"))


@pytest.mark.parametrize("language", ["de", "nl"])
def test_what_has_no_wording_in_its_language_is_left_out_and_counted(tmp_path, language):
    rows = build(tmp_path, list_products(language), name="title_generation")
    assert tell(rows, "language", "removed") == {(language, UNWORDED)}
    assert len(rows) == len(NAMES)


def test_a_recipe_may_ask_about_options_in_other_languages_but_not_for_texts(tmp_path):
    chosen = build(tmp_path, list_products("de"), name="category_classification", languages=["en"])
    written = build(tmp_path, list_products("en"), name="title_generation", languages=["it"])
    assert tell(chosen, "language", "removed") == {("en", None)}
    assert tell(written, "language", "removed") == {("en", UNASKED)}


@pytest.mark.parametrize(
    ("name", "material"),
    [
        (
            "multiclass_product_classification",
            Judgement(id="1", language="es", query="taza", title="Vaso", label="Exact"),
        ),
        ("next_item_generation", Session(id="1", language="ja", titles=("a", "b", "c"))),
        ("sentiment_analysis", Review(id="1", language="de", text="Der Deckel ist leider undicht.", rating=1)),
    ],
)
def test_judgements_sessions_and_reviews_are_no_exception(tmp_path, name, material):
    assert tell(build(tmp_path, [material], name=name), "language", "removed") == {(material.language, UNWORDED)}


def test_answers_are_scored_by_a_metric_of_their_language(tmp_path):
    translations = [
        Translation(id=language, text=f"Steel {language} Bottle", translated="Flasche", target_language=language)
        for language in ("German", "Japanese")
    ]
    passed = [
        Instruction(id=language, language=language, task="generation", prompt=f"Frage {language}", target="Ja, gern.")
        for language in ("de", "en")
    ]
    rows = build(tmp_path, [*translations, *passed], name="others")
    assert Counter((row["route"], row["language"], row["metric"]) for row in rows) == {
        ("transformed", "en", "bleu"): 1,
        ("transformed", "en", "jp-bleu"): 1,
        ("passed_on", "de", "multilingual-sent-transformer"): 1,
        ("passed_on", "en", "sent-transformer"): 1,
    }
