"""Texts of material are cleaned before questions are made of them, each kind as it bears it."""

import pyarrow as pa
import pytest

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.instructions.material import (
    KINDS,
    Instruction,
    Judgement,
    Product,
    Review,
    ReviewSummary,
    TaggedText,
    read_material,
    text_key,
)
from eshop_ray.data.instructions.material_texts import TEXTS, VERBATIM, clean_material
from eshop_ray.data.instructions.reading import MATERIAL_SCHEMA, to_row
from eshop_ray.schema import Malformed

FILE = {"source": "shop", "path": "shop.jsonl"}


def clean(*pieces):
    table = pa.Table.from_pylist([to_row(one, FILE, 1) for one in pieces], schema=MATERIAL_SCHEMA)
    cleaned = clean_material(table, TextCleaningSection())
    assert cleaned.schema == MATERIAL_SCHEMA
    return cleaned.to_pylist()


def read(row):
    return read_material(row["kind"], row["data"])


def test_every_kind_says_which_of_its_texts_are_cleaned():
    assert {*TEXTS, *VERBATIM} == {*KINDS.values()}
    assert not {*TEXTS} & {*VERBATIM}


def test_markup_broken_characters_and_marks_of_chat_templates_go():
    one = Product(id="1", title="Caf\u00c3\u00a9 <b>cup</b>", bullets=("<|im_start|>system", "Holds 0.3 l"))
    [row] = clean(one)
    assert read(row) == Product(id="1", title="Caf\u00e9 cup", bullets=(" system", "Holds 0.3 l"))
    assert row["cleaned"] == "control, markup, unicode"


def test_personal_data_is_masked_in_what_customers_wrote_and_not_in_a_shops_numbers():
    number = "call 415-555-0132"
    review, product = clean(
        Review(id="1", text=f"Broken after a day, {number} or a.b@example.com"),
        Product(id="2", title=f"Phone, {number}"),
    )
    assert read(review).text == "Broken after a day, call [PHONE] or [EMAIL]"
    assert read(product).title == f"Phone, {number}"


def test_what_is_not_worth_learning_from_goes_and_shows_no_personal_data():
    poor, fine = clean(
        Review(id="1", text="!!! ??? ... 12345 !!!", title="write to a.b@example.com"),
        ReviewSummary(id="2", reviews=("!!! ???", "Keeps tea hot."), summaries=("Hot tea.",)),
    )
    assert (poor["kind"], poor["left_out"], poor["reason"]) == (None, "few_letters", None)
    assert poor["data"] == "!!! ??? ... 12345 !!! | write to [EMAIL]"
    assert fine["left_out"] is None


def test_a_department_follows_its_text():
    [row] = clean(Judgement(id="1", query="<b>Cup</b>", title="Mug", label="Exact"))
    assert row["department"] == read(row).department == "cup"


def test_parts_that_hold_each_others_words_lose_marks_of_chat_templates_only():
    tagged = TaggedText(id="1", text="a < b <|im_end|> caf\u00c3\u00a9", spans={"type": ("a < b",)})
    [row] = clean(tagged)
    assert read(row) == TaggedText(id="1", text="a < b   caf\u00c3\u00a9", spans=tagged.spans)


def instruct(prompt, target, task="multiple_choice", **values):
    return Instruction(id="1", task=task, prompt=prompt, target=target, **values)


def test_what_is_passed_on_is_cleaned_line_by_line_and_its_options_stay_apart():
    review = "At my gym<br />1. with Caf\u00c3\u00a9, a.b@example.com"
    prompt = f"Review: {review}\n\n  0. a &amp; b\n  1. <i>c</i>\nAnswer: "
    [row] = clean(instruct(prompt, 1, about=(review,)))
    mended = "Review: At my gym 1. with Caf\u00e9, [EMAIL]\n\n0. a & b\n1. c\nAnswer: "
    assert read(row).prompt == mended
    assert text_key(read(row).about[0]) == text_key("At my gym 1. with Caf\u00e9, [EMAIL]")
    assert row["cleaned"] == "markup, personal, unicode"


@pytest.mark.parametrize(
    "one",
    [
        instruct("Which?\n  0. a\n  1. b \nAnswer: ", 1),
        instruct("Which?\n0. <b>\u2764</b>\n1. <b>\u2764</b><br>", 1),
        instruct("Name it: a.b@example.com", ("a.b@example",), task="ner"),
    ],
)
def test_what_is_passed_on_stays_where_mending_it_would_lose_an_option_or_the_answer(one):
    [row] = clean(one)
    assert (read(row), row["cleaned"]) == (one, None)


def test_an_answer_is_mended_with_its_question():
    [row] = clean(instruct("Quote: Tom &amp; Co<br>sell it", "Tom &amp; Co", task="generation"))
    assert (read(row).prompt, read(row).target) == ("Quote: Tom & Co sell it", "Tom & Co")


def test_rows_that_could_not_be_read_pass():
    [row] = clean(Malformed("shop.jsonl", 3, "no title"))
    assert (row["line"], row["reason"], row["left_out"]) == (3, "no title", None)


@pytest.mark.parametrize(
    "mark",
    ["<|im_start|>", "<|eot_id|>", "[INST]", "</s>", "<start_of_turn>", "<\uff5cUser\uff5c>", "<|start_header_id|>"],
)
def test_no_mark_is_left_or_made(mark):
    half = len(mark) // 2
    [row] = clean(Review(id="1", text=f"good {mark[:half]}{mark}{mark[half:]} tea"))
    assert mark not in read(row).text
