"""A bucket of material -> candidates: in which language, by which metric, and under which id; without Ray."""

from collections import Counter

import pytest

from eshop_ray.config import Config
from eshop_ray.data.instructions.candidates import CANDIDATE_SCHEMA, Context, build_candidates
from eshop_ray.data.instructions.material import Instruction, Judgement, Product, Review, Session, Translation
from eshop_ray.data.instructions.plan import plan_recipe
from eshop_ray.data.instructions.render import UNASKED, UNWORDED
from eshop_ray.data.instructions.shares import plan_shares, widen_shares

NAMES = ("Becher", "Flasche", "Lampe", "Uhr", "Decke", "Zelt", "Tisch", "Stuhl")


def make_plan(folder, *entries, **recipe):
    (folder / "shop.jsonl").write_text("{}")
    sources = {"shop": {"format": "products", "path": "shop.jsonl", "licence": "MIT"}}
    values = {"sources": sources, "subtasks": [{"source": "shop", **entry} for entry in entries], **recipe}
    return plan_recipe(Config.model_validate({"name": "run", "data": {"root": str(folder)}, "instructions": values}))


def build(folder, material, **entry):
    """Return the candidates that an entry makes of material."""
    plan = make_plan(folder, entry, eval_share=0.0)
    rows = list(build_candidates("shop", material, Context(plan, {})))
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


@pytest.mark.parametrize(
    ("prompt", "target", "place"),
    [
        ("Which?\n0. a\n1. b\n2. c\nAnswer:", 2, (2, 3)),
        ("Which?\n1. a\n2. b", 1, (0, 2)),
        ("How many stars, 1 to 5?", 4, (None, 0)),
        ("Which?\n0. a\n1. b", 7, (None, 0)),
    ],
)
def test_rows_passed_on_say_where_their_right_option_stands(tmp_path, prompt, target, place):
    one = Instruction(id="1", task="multiple_choice", prompt=prompt, target=target)
    assert tell(build(tmp_path, [one], name="others"), "position", "num_options") == {place}


def test_a_sub_task_with_two_splits_has_a_quota_and_ids_for_each(tmp_path):
    entries = [{"name": "title_generation", "quota": 100}, {"name": "title_generation", "split": "held_out"}]
    plan = make_plan(tmp_path, *entries, num_rows=5000, eval_share=0.5, max_eval_rows=7)
    assert plan.limit_of("title_generation", "train") == 100
    assert plan.limit_of("title_generation", "held_out") == plan.limit_of("title_generation", "dev") == 7
    rows = list(build_candidates("shop", list_products("en"), Context(plan, {})))
    assert {row["split"] for row in rows} == {"train", "dev", "unseen", "held_out"}
    assert len({row["id"] for row in rows}) == len(rows)


def test_rows_to_learn_from_are_shared_out_among_those_that_are_learned_from(tmp_path):
    entries = [
        {"name": "title_generation", "weight": 3},
        {"name": "category_classification"},
        {"name": "category_generation", "split": "held_out", "quota": 50},
        {"name": "bullet_generation", "split": "dev", "quota": 20},
    ]
    plan = make_plan(tmp_path, *entries, num_rows=400)
    assert plan.quotas == {
        ("title_generation", "train"): 300,
        ("category_classification", "train"): 100,
        ("category_generation", "held_out"): 50,
        ("bullet_generation", "dev"): 20,
        ("bullet_generation", "unseen"): 20,
    }


@pytest.mark.parametrize("splits", [(None, None), (None, "train"), ("dev", None), ("a", "a"), ("dev", "unseen")])
def test_two_entries_of_a_sub_task_must_not_fill_one_split(tmp_path, splits):
    with pytest.raises(ValueError, match="`title_generation` stands there twice"):
        make_plan(tmp_path, *({"name": "title_generation", "split": split} for split in splits))


def test_a_larger_share_takes_what_a_smaller_one_does_and_more(tmp_path):
    plan = make_plan(tmp_path, {"name": "title_generation", "quota": 1}, eval_share=0.0)
    material = [Product(id=str(n), title=f"Lamp {n}", description="A lamp that lights for years.") for n in range(300)]
    some, more = (
        {row["id"] for row in build_candidates("shop", material, Context(plan, {("title_generation", "train"): share}))}
        for share in (0.2, 0.5)
    )
    assert some < more
    assert 20 < len(some) < 100 < len(more) < 200


def test_more_material_is_drawn_where_little_of_it_gives_a_question(tmp_path):
    plan = make_plan(tmp_path, {"name": "title_generation", "quota": 10_000}, {"name": "bullet_generation"})
    shares = plan_shares(plan, {("shop", "Product", "a"): 600_000, ("shop", "Product", "b"): 400_000})
    train, dev, free = ("title_generation", "train"), ("title_generation", "dev"), ("bullet_generation", "train")
    assert (shares[train], shares[dev], shares[free]) == (40_200 / 900_000, 600 / 100_000, 1.0)
    enough = {train: 20_000, dev: 200}
    assert widen_shares(shares, {**enough, ("bullet_generation", "dev"): 200}, plan) == shares
    assert widen_shares(shares, {**enough, train: 4_000}, plan)[train] == pytest.approx(shares[train] * 10.05)
    assert widen_shares(shares, {}, plan)[train] == 1.0
