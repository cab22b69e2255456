"""Each format as its set is published, with rows of our own, right ones and broken ones."""

import io
import json
from dataclasses import asdict
from typing import get_args

import pytest

from eshop_ray.cli.shipped_configs import find_config
from eshop_ray.config.instructions import InstructionFormat
from eshop_ray.config.loading import load_config
from eshop_ray.data.instructions.attribute_text import write_attribute
from eshop_ray.data.instructions.material import (
    Attribute,
    Category,
    Fact,
    Instruction,
    Judgement,
    LeftOut,
    Material,
    OfferPair,
    Product,
    ProductQuestion,
    ProductTitle,
    Relation,
    Review,
    ReviewSummary,
    Session,
    TaggedText,
    Translation,
    read_material,
    write_material,
)
from eshop_ray.data.instructions.material_texts import list_texts
from eshop_ray.data.instructions.reading import read_file
from eshop_ray.data.instructions.sources import READERS
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, encode


def read(name, text, path="file.jsonl", **options):
    """Return (material, malformed) of a file's text."""
    stream = io.BytesIO(text.encode())
    found = list(READERS[name](stream, path, {"language": "en", **options}))
    return [one for one in found if not isinstance(one, Malformed)], [
        one for one in found if isinstance(one, Malformed)
    ]


def as_lines(*rows):
    return "\n".join(map(json.dumps, rows))


def test_every_format_of_the_config_has_a_reader():
    assert set(get_args(InstructionFormat)) == set(READERS)


def test_products_come_with_category_bullets_and_attributes():
    rows = [
        {
            "parent_asin": "B01",
            "main_category": "Home",
            "title": "Bottle",
            "features": ["Keeps tea hot", "Fits a cup holder"],
            "description": ["A bottle of steel."],
            "categories": ["Home", "Kitchen"],
            "details": {"Material": "Steel"},
            "store": "Nordvik",
        },
        {"parent_asin": "B02", "main_category": "Home", "title": ""},
    ]
    (product,), (bad,) = read("products", as_lines(*rows), format="amazon_reviews")
    assert isinstance(product, Product)
    assert product.category == "Home > Kitchen"
    assert product.bullets == ("Keeps tea hot", "Fits a cup holder")
    assert product.attributes == {"Material": "Steel"}
    assert bad.line == 2


def test_joined_columns_are_levels_of_a_category():
    row = {"id": 1, "name": "Boot", "category": "footwear", "style": "hiking"}
    (product,), _ = read("products", as_lines(row), columns={"category": ["category", "style"]})
    assert product.category == "footwear > hiking"


def test_judgements_may_be_of_some_rows_only():
    rows = [
        {"query": "mug", "product_title": "Red Mug", "esci_label": "E", "form": "direct"},
        {"query": "mug", "product_title": "Tea", "esci_label": "C", "form": "select"},
        {"query": "mug", "product_title": "Tea", "esci_label": "X", "form": "direct"},
    ]
    (found, unwanted), (bad,) = read("esci", as_lines(*rows), where={"form": ["direct"]})
    assert isinstance(found, Judgement)
    assert (found.query, found.label, bad.line) == ("mug", "Exact", 3)
    assert unwanted == LeftOut(reason="not what `where` asks for", text="mug (form: select)")


def test_rows_that_are_not_wanted_have_a_count_of_their_own(tmp_path):
    rows = [{"query": one, "product_title": "Mug", "esci_label": "E", "form": one} for one in ("a", "b\ud800")]
    (tmp_path / "pairs.jsonl").write_text(as_lines(*rows, {**rows[0], "esci_label": "?"}))
    options = encode({"language": "en", "where": {"form": "a"}})
    file = {"source": "esci", "path": f"{tmp_path}/pairs.jsonl", "format": "esci", "options": options}
    (table,) = read_file(file)
    sound, unwanted, bad = table.to_pylist()
    assert sound["kind"] == "Judgement"
    assert (unwanted["left_out"], unwanted["data"]) == ("not what `where` asks for", "b? (form: b?)")
    assert unwanted["kind"] is unwanted["reason"] is bad["kind"] is bad["left_out"] is None
    assert "`esci_label`" in bad["reason"]


@pytest.mark.parametrize("wanted", [1, "1", [1, 7], [True, "1"]])
def test_rows_are_wanted_by_any_kind_of_value(wanted):
    rows = [
        {"query": "mug", "product_title": "Mug", "esci_label": "E", "small": value} for value in (1, 1.0, "1", 11, 0)
    ]
    found, _ = read("esci", as_lines(*rows), where={"small": wanted})
    assert [type(one) for one in found] == [Judgement, Judgement, Judgement, LeftOut, LeftOut]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"where": 3}, "esci source"), ({"were": {}}, "`were`"), ({"where": {"form": "direct"}}, "no row has form")],
)
def test_options_of_judgements_are_checked(options, named):
    row = {"query": "mug", "product_title": "Mug", "esci_label": "E"}
    with pytest.raises(UserError, match=named):
        read("esci", as_lines(row), **options)


def test_judgements_and_products_may_stand_in_files_of_their_own():
    example = {"query": "taza", "product_id": "B1", "product_locale": "es", "esci_label": "E", "split": "train"}
    (judgement,), bad = read("esci", as_lines(example, {**example, "esci_label": "?"}))
    assert judgement == Judgement(id=judgement.id, language="es", query="taza", label="Exact", product_id="es/B1")
    assert len(bad) == 1
    product = {"product_id": "B1", "product_title": "Taza roja", "product_locale": "es", "product_brand": "Alva"}
    (title,), bad = read("esci", as_lines(product, {**product, "product_title": ""}))
    assert title == ProductTitle(id="es/B1", language="es", title="Taza roja")
    assert len(bad) == 1


def test_queries_are_tagged():
    found, bad = read("queryner", "red\tB-color\nwool\tB-material\ncap\tB-core_product_type\n\nx y\tO\n\n", "a.conll")
    assert [one.spans for one in found] == [{"color": ("red",), "material": ("wool",), "core product type": ("cap",)}]
    assert isinstance(found[0], TaggedText)
    assert len(bad) == 1


def test_attribute_values_stand_in_the_title():
    rows = [
        {"input": "Red Scarf XL", "category": "Scarf", "target_scores": {"Color": {"Red": 1}, "Brand": {"n/a": 1}}},
        {"input": "Red Scarf", "target_scores": {"Brand": {"n/a": 1}}},
    ]
    (one,), bad = read("attribute_values", as_lines(*rows))
    assert one.spans == {"Color": ("Red",)}
    assert len(bad) == 1


@pytest.mark.parametrize("values", ["Red", None, 3, [3]])
def test_values_that_are_no_list_are_no_spans(values):
    found, bad = read("attribute_values", as_lines({"input": "Red Scarf", "target_scores": {"Color": values}}))
    assert found == []
    assert "`Color`" in bad[0].reason


def test_offers_are_told_in_words():
    text = (
        "COL title VAL visio 2007 COL manufacturer VAL microsoft COL price VAL 129.95 \t"
        "COL title VAL visio COL manufacturer VAL  COL price VAL \t1\nbroken line\n"
    )
    (pair,), bad = read("product_matching", text, "train.txt")
    assert pair == OfferPair(
        id=pair.id, first="visio 2007; manufacturer: microsoft; price: 129.95", second="visio", is_same=True
    )
    assert bad[0].line == 2


def test_reviews_know_their_product():
    rows = [
        {"rating": 5.0, "title": "Great", "text": "Keeps <b>hot</b>.", "asin": "B1", "parent_asin": "B0"},
        {"rating": 9, "title": "?", "text": "?"},
    ]
    (review,), bad = read("reviews", as_lines(*rows))
    assert isinstance(review, Review)
    assert (review.rating, review.product, review.text) == (5, "B0", "Keeps hot.")
    assert len(bad) == 1


def test_metadata_among_reviews_gives_titles_of_products():
    text = '{"main_category": "Home", "title": " Steel  Bottle", "average_rating": 4.5, "parent_asin": "B1"}\n'
    (title,), (bad,) = read("reviews", text + '{"title": "", "parent_asin": "B2"}\n')
    assert title == ProductTitle(id="B1", title="Steel Bottle")
    assert (bad.line, "is empty" in bad.reason) == (2, True)
    review = '{broken\n{"rating": 5, "text": "Good bottle.", "title": "Good", "parent_asin": "B1"}\n'
    (one,), (bad,) = read("reviews", review)
    assert (one.product, bad.line) == ("B1", 1)
    titled = one.with_title("Steel Bottle")
    assert titled.keys == (*Product(id="x", title="Steel bottle").keys, *one.keys)


def test_summaries_of_reviews():
    (one,), _ = read("review_summaries", "rev1\trev2\tsumm1\nGood.\tFine.\tAll good.\n", "val.tsv")
    assert one == ReviewSummary(id=one.id, reviews=("Good.", "Fine."), summaries=("All good.",))


def test_amasum_takes_the_most_helpful_reviews():
    product = {
        "customer_reviews": [{"text": f"Review {votes}", "helpful_votes": str(votes)} for votes in range(6)],
        "website_summaries": [{"verdict": "A good one.", "pros": ["Light"], "cons": ["Loud"]}],
    }
    (one,), bad = read("amasum", as_lines(product, {"customer_reviews": []}))
    assert one.reviews == ("Review 5", "Review 4", "Review 3", "Review 2")
    assert one.summaries == ("A good one. Pros: Light Cons: Loud",)
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("pros", "told"), [("Light", " Pros: Light"), (3, ""), (None, ""), ([3, "Light"], " Pros: Light")]
)
def test_what_speaks_for_a_product_may_be_one_text(pros, told):
    row = {"customer_reviews": [{"text": "Fine."}], "website_summaries": [{"verdict": "Good.", "pros": pros}]}
    (one,), _ = read("amasum", as_lines(row))
    assert one.summaries == (f"Good.{told}",)


def test_questions_and_their_evidence():
    (one,), _ = read(
        "hetpqa", "ASIN\tquestion\tcandidate\tanswer\tsource\nB1\tHow big?\tit is 5 cm\t5 cm\tDesc\n", "a.tsv"
    )
    assert one == ProductQuestion(
        id=one.id, question="How big?", product_id="B1", evidence="it is 5 cm", answer="5 cm", is_answerable=True
    )
    review = Review(id="1", text="Good.", product="b1")
    head = "qid,question,ASIN,candidate,source,qa_pair_id,title,label,answer\n"
    rows = [f"1,How big?,B1,it is {size},cqa,1,Mug,{label},5 cm\n" for label, size in enumerate("abc")]
    found, bad = read("epqa", head + "".join(rows) + "1,,B1,x,cqa,1,Mug,1,\n", "a.csv")
    assert [one.is_answerable for one in found] == [False, None, True]
    assert [one.answer for one in found] == ["", "", "5 cm"]
    assert {one.keys for one in found} == {(*review.keys, *Product(id="1", title="mug").keys, one.keys[-1])}
    assert one.keys[0] == review.keys[0]
    assert len(bad) == 1


def test_the_question_of_another_customer_stands_before_its_answer():
    text = "question,candidate,title,label\nHow deep?,5 cm deep. Question: what size is it?,Mug,2\n"
    (one,), _ = read("epqa", text, "a.csv")
    assert one.evidence == "Another customer asked: what size is it? Answer: 5 cm deep."
    assert one.repaired


def test_attributes_among_the_evidence_are_told_in_words():
    head = "question,candidate,title,label,answer\n"
    rows = ['Big?,"size:  { value:""little kid"" }",Mug,2,Yes.\n', 'Big?,"size:  { value:""NA"" }",Mug,1,\n']
    (one,), bad = read("epqa", head + "".join(rows), "a.csv")
    assert one.evidence == "size: little kid"
    assert len(bad) == 1
    head = "ASIN\tquestion\tcandidate\tanswer\tsource\n"
    row = "B1\tdoes it need a battery?\tbatteries_required:  { value:false }\tno.\tattribute\n"
    assert read("hetpqa", head + row, "a.tsv")[0][0].evidence == "batteries required: false"


def test_an_attribute_without_a_value_is_no_fact():
    text = 'data\ttext\nbody: { value:"NA" }\tThe body is made of material.\n'
    assert read("semipqa", text, "a.tsv")[0] == []


def test_attributes_become_text_and_sentences():
    text = 'data\ttext\nbrand: { value:""CHANEL"" }\tThe brand is Chanel.\n'.replace('""', '"')
    (fact,), _ = read("semipqa", text, "a.tsv")
    assert fact == Fact(id=fact.id, attribute="brand: CHANEL", sentence="The brand is Chanel.")
    head = "qid\tqa_pair_id\tquestion\tcandidate\tlabel\n"
    text = head + '1\t2\thow old?\tage_range:  { value:"kid" }\t1\n1\t2\tx\tnone\t0\n'
    text += '9\t3\tHow  old?\tcolor: { value:"red" }\t0\n'
    (one, other), bad = read("semipqa", text, "a.tsv")
    assert (one.evidence, one.is_answerable) == ("age range: kid", True)
    assert one.keys == other.keys
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            "item_weight: { unit:pounds, normalized_value:{ unit:pounds, value:51 }, value:51 }",
            "item weight: 51 pounds",
        ),
        ("audio_sensitivity: {unit:decibels, value:121.0}", "audio sensitivity: 121 decibels"),
        (
            "size: { width:{ unit:inches, normalized_value:{ unit:feet, value:0.75 }, value:9 }, "
            "length:{ unit:inches, value:12. } }",
            "size: width 9 inches, length 12 inches",
        ),
        (
            "nutritional_info: { vitamins_and_minerals:[ { unit:milligrams, nutrient:sodium, value:20.0 } ], "
            'serving_quantity:1.0, serving_unit:ounces, fat:[ { total:5.0, unit:grams, total_string:"5 grams", '
            "saturated:1.5 } ], energy:[ { unit:calories, content:110.0 } ] }",
            "nutritional info: vitamins and minerals sodium 20 milligrams, serving quantity 1 ounces, "
            "fat 5 grams, saturated 1.5 grams, energy 110 calories",
        ),
        ("batteries: { quantity:2, type:aaa }; { quantity:1, type:lithium_ion }", "batteries: 2 aaa, 1 lithium ion"),
        ('color: { standardized_values:[ "green" ], value:"green/blue" }', "color: green/blue"),
        ('outer: { material:[ { value:"Wool" }, { value:"wool" }, { value:"Silk" } ] }', "outer: material Wool, Silk"),
        ('rim: { size:[ { value:"9\\" wide" } ], type:[ { value:"na" } ] }', 'rim: size 9" wide'),
        ('chain: { unit:inches, string_value:"24 inches", decimal_value:24.0 }', "chain: 24 inches"),
        ('brand: { brand_seq_id:null.int, value:"Alva: Home, Garden" }', "brand: Alva: Home, Garden"),
        ("port: { value:'802_11_b' }; { value:usb }", "port: 802.11 b, usb"),
        ("leg: { }", ""),
        ("size: { unit:inches, value:null }", ""),
    ],
)
def test_an_attribute_is_told_in_words(data, told):
    assert write_attribute(data) == told


@pytest.mark.parametrize(
    "data", ["size: { value:3", "size: { value:[ 3 }", "x: { a b }", 'x: { value:"a {b}" }', "x:" + "[" * 9999]
)
def test_an_attribute_that_is_not_whole_is_malformed(data):
    found, bad = read("semipqa", f"data\ttext\n{data}\tIt is.\nsize: {{ value:3 }}\tIt is 3.\n", "a.tsv")
    assert [one.attribute for one in found] == ["size: 3"]
    assert [one.line for one in bad] == [2]


def test_instructions_are_mended_and_say_so():
    rows = [
        {
            "input_field": "Which?\n0. a\n1. b\n3. c\nAnswer:",
            "output_field": "2",
            "task_type": "multiple-choice",
            "metric": "accuracy",
        },
        {"input_field": "Is it?", "output_field": "yes", "task_type": "multiple-choice", "metric": "bool"},
    ]
    (first, second), _ = read("shopbench", json.dumps(rows), "PRP.json")
    assert isinstance(first, Instruction)
    assert "2. c" in first.prompt
    assert first.repaired
    assert (second.task, second.target) == ("generation", "yes")


COUNTED, LEFT = "options counted from 0", "options left to count from 1: other numbers may be theirs"


@pytest.mark.parametrize(
    ("prompt", "target", "counted", "answer", "repaired"),
    [
        (
            "Which?\nList:\n1. a\n2. b\n3. c\nOutput:",
            [1, 3],
            "Which?\nList:\n0. a\n1. b\n2. c\nOutput:",
            [0, 2],
            COUNTED,
        ),
        ("Which?\n0. a\n1. b", [1], None, None, ""),
        ("Which?\nProducts: 0. a\n1. b\n2. c\nOutput:", [0, 2], None, None, ""),
        ("Answer 1 to 3.\n1. a\n2. b\n3. c", [2], None, None, LEFT),
        ("Review:\n1. It leaks.\nAspects:\n1. a\n2. b", [2], None, None, LEFT),
        ("Which? 1. a 2. b 3. c", [2], None, None, ""),
    ],
)
def test_options_to_retrieve_count_from_0_where_nothing_else_may_be_their_number(
    prompt, target, counted, answer, repaired
):
    row = {"input_field": prompt, "output_field": target, "task_type": "retrieval", "metric": "hit rate@3"}
    (one,), _ = read("shopbench", json.dumps([row]), "RRA.json")
    assert (one.prompt, one.target, one.repaired) == (counted or prompt, answer or target, repaired)


@pytest.mark.parametrize(
    ("source", "prompt", "about"),
    [
        ("ec_entities", "Extract the brand.\nQuery: ty boos\nOutput: ", "ty boos"),
        ("ec_entities", "What is the 'Brand' in product title 'Women's Tee, L'.", "Women's Tee, L"),
        ("ec_entities", "In the product title 'Girls Tee S', what is the entity type 'Size'?", "Girls Tee S"),
        ("ec_entities", "Name the brand of this.", "Name the brand of this."),
        ("ec_aspects", "Choose.\nReview: It leaks.\nA lot.\nAspect List:\n1. a\n2. b\nOutput:", "It leaks.\nA lot."),
        ("ec_keyphrases", "Quote.\nReview: It leaks.\nA lot.\nAspect: lid\nOutput:", "It leaks.\nA lot."),
        ("ec_products", "For 'Brushes', choose.\nProducts: 0. A 'b' c\n1. d\nOutput:", "Brushes"),
        ("ec_attributes", "What is 'Space Wolf 'Kit''?\n0. a\n1. b\nAnswer: ", "Space Wolf 'Kit'"),
        ("ec_attributes", 'The product "46" Table" is listed.\n0. a\n1. b\nAnswer: ', '46" Table'),
        ("ec_features", "Extract.\nDescription: A coat.\nResult:", "A coat."),
    ],
)
def test_the_shipped_recipe_cuts_out_what_questions_are_about(source, prompt, about):
    options = load_config(str(find_config("eshop_instruct"))).instructions.sources[source].options
    retrieval, choice = ("retrieval", "hit rate@3", [1]), ("multiple-choice", "accuracy", 0)
    kinds = {"ec_aspects": retrieval, "ec_products": retrieval, "ec_attributes": choice}
    kind, metric, target = kinds.get(source, ("generation", "rougel", "x"))
    row = {"input_field": prompt, "output_field": target, "task_type": kind, "metric": metric}
    (one,), _ = read("shopbench", json.dumps([row]), "x.json", **options)
    assert one.about == (about,)


def test_ecinstruct_numbers_its_options():
    rows = [
        {
            "instruction": "How well?",
            "input": "query: mug",
            "options": '["A: Exact", "B: Substitute"]',
            "output": "B",
            "task": "MPC",
        },
        {"instruction": "Same?", "input": "x", "options": None, "output": "yes", "task": "PM"},
        {"instruction": "How well?", "input": "x", "options": '["A: Exact"]', "output": "Z", "task": "MPC"},
    ]
    (choice, text), bad = read("ecinstruct", json.dumps(rows), "train.json")
    assert choice.prompt.endswith("0. Exact\n1. Substitute")
    assert choice.target == 1
    assert (text.task, text.metric) == ("generation", "accuracy")
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("stem", "row", "kind"),
    [
        ("SA", ("Rate from 1 to 5.\nInput: Broke soon.\nOutput:", 1, "multiple-choice"), Review),
        ("RTS", ("Title?\nReview: Runs small, size up.\nOutput:", "Runs small", "generation"), Review),
        (
            "PQA",
            ('On "x".\nInstruction: product "Mug" .\nQuestion: Big?\nAnswer: ', "Yes.", "generation"),
            ProductQuestion,
        ),
        ("MT", ("Translate the title 'Rote Tasse' into English.\nOutput:", "Red Mug", "generation"), Translation),
        ("CR", ("Which categories: 'Red Mug'?\nAnswer:", "Home, Mugs", "generation"), Product),
        ("EBT", ("Why?\nProduct A: Mug\nProduct B: Tea\nOutput:", "Because.", "generation"), Relation),
    ],
)
def test_ec_guide_is_taken_apart(stem, row, kind):
    prompt, answer, task = row
    rows = [
        {"input_field": prompt, "output_field": answer, "task_type": task},
        {"input_field": "What is that?\n0. a\n1. b", "output_field": 1, "task_type": "multiple-choice"},
    ]
    (found,), bad = read("ec_guide", json.dumps(rows), f"{stem}.json")
    assert isinstance(found, kind)
    assert len(bad) == 1


def read_answer(stem, prompt, answer):
    row = {"input_field": prompt, "output_field": answer, "task_type": "generation"}
    return read("ec_guide", json.dumps([row]), f"{stem}.json")


@pytest.mark.parametrize(
    "names",
    [
        ("Patio, Lawn & Garden", "Grills & Outdoor Cooking", "Grills"),
        ("Clothing, Shoes & Jewelry", "Novelty, Costumes & More", "Novelty", "Jewelry"),
        ("Arts, Crafts & Sewing", "Craft Supplies", "Paper & Paper Crafts"),
        ("Automotive", "Paint, Body & Trim", "Paint"),
        ("Automotive", "Lights & Lighting Accessories", "Bulbs"),
        ("Liberal Arts", "Crafts & Sewing"),
    ],
)
def test_names_of_categories_may_hold_commas(names):
    (one,), _ = read_answer("CR", "Which categories: 'Red Mug'?\nAnswer:", ", ".join(names))
    assert one.category == " > ".join(names)
    assert one.department == names[0]


@pytest.mark.parametrize(
    ("answer", "translated"),
    [
        ("Rote Tasse", "Rote Tasse"),
        ("Output: Rote Tasse", "Rote Tasse"),
        ("OUTPUT: 'Rote Tasse'", "Rote Tasse"),
        ("Title: Rote Tasse", "Rote Tasse"),
        ('"Rote ""Tasse"""', 'Rote "Tasse"'),
        ("「赤いマグ」", "赤いマグ"),
        ("Tasse 'Rot', \"Blau\"", "Tasse 'Rot', \"Blau\""),
        ("'Rote' oder 'Blaue'", "'Rote' oder 'Blaue'"),
    ],
)
def test_what_stands_around_a_translation_is_taken_off(answer, translated):
    (one,), _ = read_answer("MT", "Translate the title 'Mug 14\"' into German.\nOutput:", answer)
    assert (one.text, one.translated, bool(one.repaired)) == ('Mug 14"', translated, answer != translated)


def test_what_is_no_translation_of_a_title_is_no_material():
    prompt = "Translate the title 'Red Mug' into German.\nOutput:"
    for answer in ("Question: A product entitled 'Mug'?", "It is in German already:\n\nRote Tasse", "Output:"):
        found, bad = read_answer("MT", prompt, answer)
        assert (found, len(bad)) == ([], 1)
    (one,), _ = read_answer("MT", "Translate this into German. Sentece:'He said so.'\nOutput:", "Er sagte es.")
    assert isinstance(one, LeftOut)


def test_ec_guide_files_of_other_kinds_are_passed_on():
    with pytest.raises(UserError, match="others pass on as `shopbench`"):
        read("ec_guide", "[]", "ACR.json")


def test_a_taxonomy_knows_names_attributes_and_googles_categories(tmp_path):
    names = {"en": "Bottles", "de": "Flaschen", "fr": "Bouteilles", "es": "Botellas", "ja": "ボトル"}
    root = {"id": "hg", "parent_id": None, "names": {**names, "en": "Home"}, "attributes": [], "leaf": False}
    leaf = {"id": "hg-1", "parent_id": "hg", "names": names, "attributes": ["color"], "leaf": True}
    color = {"id": "color", "names": {**names, "en": "Color"}, "values": [{"id": "red"}, {"id": "color__other"}]}
    (tmp_path / "attributes.jsonl").write_text(json.dumps(color))
    (tmp_path / "values.jsonl").write_text(json.dumps({"id": "red", "names": {**names, "en": "Red"}}))
    google = {"shopify_id": "hg-1", "google_paths": ["Home & Garden > Bottles"]}
    (tmp_path / "google_mapping.jsonl").write_text(json.dumps(google))
    path = f"{tmp_path}/categories.jsonl"
    found, bad = read("shopify_taxonomy", as_lines(root, leaf, {"id": "x"}), path)
    home, bottles, attribute = found
    assert isinstance(home, Category)
    assert bottles.full_name("de") == "Flaschen > Flaschen"
    assert bottles.attributes["en"] == ("Color",)
    assert bottles.google == ("Home & Garden > Bottles",)
    assert attribute == Attribute(id="color", names=color["names"], values=attribute.values)
    assert attribute.values["en"] == ("Red",)
    assert len(bad) == 1


def test_a_category_has_the_languages_that_its_whole_path_has(tmp_path):
    def row(number, parent, **names):
        return {"id": number, "parent_id": parent, "names": names, "attributes": ["a", "b"], "leaf": True}

    names = {"a": {"en": "Color", "de": "Farbe"}, "b": {"en": "Size"}}
    attributes = [{"id": one, "names": own} for one, own in names.items()]
    (tmp_path / "attributes.jsonl").write_text(as_lines(*attributes, {"id": "c"}, {"id": "d", "names": {"de": "Form"}}))
    (tmp_path / "values.jsonl").write_text("{broken")
    rows = [
        row("1", None, en="Home", fr="Maison"),
        row("2", "1", en="Pans", de="Pfannen", fr="Poêles"),
        row("3", "2", en="Woks", de="Woks"),
        row("5", "4", en="Lids"),
    ]
    found, bad = read("shopify_taxonomy", as_lines(*rows), f"{tmp_path}/categories.jsonl")
    assert [one.path for one in found[:3]] == [
        {"en": ("Home",), "fr": ("Maison",)},
        {"en": ("Home", "Pans"), "fr": ("Maison", "Poêles")},
        {"en": ("Home", "Pans", "Woks")},
    ]
    assert found[0].attributes == {"en": ("Color", "Size")}
    assert [one.id for one in found[3:]] == ["a", "b"]
    places = [(one.path.rpartition("/")[2], one.line) for one in bad]
    assert places == [("values.jsonl", 1), ("attributes.jsonl", 3), ("attributes.jsonl", 4), ("categories.jsonl", 4)]


def test_sessions_get_their_titles(tmp_path):
    (tmp_path / "products_train.csv").write_text(
        "id,locale,title\nB00000001,UK,Mug\nB00000002,UK,Tea\nB00000003,UK,Pot\n"
    )
    text = "prev_items,next_item,locale\n\"['B00000001' 'B00000002']\",B00000003,UK\n\"['B00000009']\",B00000001,UK\n"
    (one,), bad = read("amazon_m2", text, f"{tmp_path}/sessions_train.csv")
    assert one == Session(id=one.id, titles=("Mug", "Tea", "Pot"))
    assert len(bad) == 1


def test_products_of_sessions_that_cannot_be_read_are_told(tmp_path):
    path = f"{tmp_path}/sessions_train.csv"
    text = "prev_items,next_item,locale\n\"['B00000001']\",B00000002,UK\n"
    with pytest.raises(UserError, match=r"there is no `products_train\.csv` beside it"):
        read("amazon_m2", text, path)
    (tmp_path / "products_train.csv").write_text("id,locale,title\nB00000001,UK,Mug\nB00000002,UK,\n")
    found, bad = read("amazon_m2", text, path)
    assert found == []
    assert [(one.path.rpartition("/")[2], one.line) for one in bad] == [
        ("products_train.csv", 3),
        ("sessions_train.csv", 2),
    ]


RIGHT = {
    "amasum": {
        "customer_reviews": [{"text": "Fine.", "helpful_votes": 1}],
        "website_summaries": [{"verdict": "Good."}],
    },
    "attribute_values": {"input": "Red Mug", "category": "Mug", "target_scores": {"Color": {"Red": 1}}},
    "ecinstruct": {"instruction": "Which?", "input": "x", "options": '["A: a", "B: b"]', "output": "A", "task": "MPC"},
    "epqa": {"question": "Big?", "candidate": "It is.", "label": "2", "title": "Mug", "ASIN": "B1", "answer": "Yes."},
    "esci": {"query": "mug", "product_title": "Mug", "esci_label": "E", "product_locale": "us", "product_id": "B1"},
    "hetpqa": {"ASIN": "B1", "question": "Big?", "candidate": "It is.", "answer": "Yes."},
    "products": {"id": "1", "name": "Mug", "category": "Home", "description": "A mug.", "brand": "Alva"},
    "reviews": {"rating": 5, "title": "Good", "text": "Good mug.", "parent_asin": "B1"},
    "semipqa": {"qid": "1", "question": "Big?", "candidate": 'size: { value:"big" }', "label": "1"},
    "shopbench": {"input_field": "Which?\n0. a\n1. b", "output_field": 1, "task_type": "multiple-choice"},
    "shopify_taxonomy": {"id": "1", "parent_id": None, "names": {"en": "Mugs"}, "attributes": [], "leaf": True},
}
"""A right row of each format of named columns."""
ODD = (None, 3, -1.5, True, "", "x: {[", [], [3], ["x"], [None], {}, {"x": 3}, {"x": None}, [{"x": ["y"]}], {"en": 3})


@pytest.mark.parametrize("name", RIGHT)
def test_an_odd_row_ends_no_file(name):
    right = RIGHT[name]
    odd = [{**right, column: value} for column in right for value in ODD]
    odd += [{key: value for key, value in right.items() if key != column} for column in right]
    found, bad = read(name, as_lines(right, *odd, right))
    assert found[0] == found[-1]
    for one in found:
        assert read_material(type(one).__name__, write_material(one)) == one
        assert all(isinstance(text, str) for text in (one.id, one.department, *one.keys))
        assert not [text for text in list_texts(asdict(one)) if text.startswith(("{'", "['"))]
    assert all(isinstance(one, Material) and one.language for one in found)
    assert len(found) + len(bad) == len(odd) + 2
