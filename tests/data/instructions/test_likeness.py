"""What makes a question a repeat of another: what it asks and what is right, in one sub-task and with one verdict."""

import pyarrow as pa
import pytest

from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.instructions import near_repeats
from eshop_ray.data.instructions.foreign import FOREIGN, mark_foreign
from eshop_ray.data.instructions.likeness import compare_instruction, compare_question
from eshop_ray.data.instructions.material import Instruction
from eshop_ray.data.instructions.near_repeats import NEARLY, find_near_repeats, mark_near_repeats
from eshop_ray.data.instructions.question import Choice, Question, Selection, Spans, Text
from tests.data.near_duplicates.in_process import Tables, without_ray

OFFER = "Nordvik insulated bottle 750 ml of stainless steel with a lid that does not leak"


def test_verdicts_are_compared_among_themselves_and_wrong_options_do_not_count():
    same, other = (
        compare_question("product_matching", Question({"first": OFFER, "second": OFFER}, Choice(right, ["x", "y"])))
        for right in ("yes", "no")
    )
    assert same["compared"] == other["compared"] == f"{OFFER}\n{OFFER}"
    assert same["within"] != other["within"]


def test_answers_to_write_or_to_find_are_part_of_what_is_compared():
    title = compare_question("title_generation", Question({"text": OFFER}, Text("Nordvik")))
    found = compare_question("retrieval", Question({"query": "red mug"}, Selection(["b", "a"], ["c"])))
    passed = compare_instruction("others", Instruction(id="1", task="ner", prompt=OFFER, target=["Nordvik"]))
    assert title == {"compared": f"{OFFER}\nNordvik", "within": "title_generation"}
    assert found == {"compared": "red mug\na\nb", "within": "retrieval"}
    assert passed == {"compared": OFFER, "within": 'others\n["Nordvik"]'}


def make_candidates():
    common = {"compared": OFFER, "within": "a", "removed": None, "split": "train"}
    rows = [
        {"id": "1", "rank": 1},
        {"id": "2", "rank": 1 << 62, "split": "dev", "compared": f"{OFFER} anymore"},
        {"id": near_repeats.unseen_id("2"), "rank": 1 << 62, "split": "unseen", "compared": f"{OFFER} anymore"},
        {"id": "3", "rank": 0, "within": "b"},
        {"id": "4", "rank": 0, "within": "b", "removed": "broken"},
        {"id": "5", "rank": 3, "split": "dev", "within": "b"},
        {"id": "6", "rank": 2, "split": "dev", "within": "b"},
        {"id": near_repeats.unseen_id("5"), "rank": 3, "split": "unseen", "within": "b"},
    ]
    schema = pa.schema([(name, pa.int64() if name == "rank" else pa.string()) for name in ("id", *common, "rank")])
    return pa.Table.from_pylist([{**common, **row} for row in rows], schema=schema)


def test_the_evaluation_keeps_its_row_and_a_question_goes_in_both_of_its_wordings(tmp_path, monkeypatch):
    table = make_candidates()
    with without_ray():
        selected = near_repeats._select_compared(table)
        monkeypatch.setattr(Tables, "map_batches", lambda self, function, **_: run_on(self, function))
        going = find_near_repeats(Tables([table]), NearDuplicatesSection(), tmp_path)
    assert selected["id"].to_pylist() == ["1", "2", "3", "5", "6"]
    found = mark_near_repeats(table, going)["removed"].to_pylist()
    assert found == [NEARLY, None, None, NEARLY, "broken", NEARLY, None, NEARLY]
    assert not (tmp_path / near_repeats.FOLDER).exists()


def run_on(tables, function):
    """Run a function of a table to a table, or to several, on each."""
    found = []
    for table in tables.tables:
        made = function(table)
        found += [made] if isinstance(made, pa.Table) else made
    return Tables(found)


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [
        ("it", "A quale categoria appartiene questo prodotto? Scegli una delle opzioni.", None),
        ("it", "Zu welcher Kategorie gehört dieses Produkt? Wähle eine der Möglichkeiten.", FOREIGN),
        ("it", "Choose the category to which this product belongs, and give its number.", None),
        ("zh", "这个商品属于哪一类?请选择一个选项。 Kitchen & Dining", None),
    ],
)
def test_rows_in_another_language_are_marked_and_english_titles_are_none(language, text, reason):
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": text}]
    row = {"route": "multilingual", "language": language, "messages": messages, "removed": None}
    rows = [row, {**row, "route": "transformed"}, {**row, "removed": "broken"}, {**row, "route": "passed_on"}]
    rows.append({**row, "route": "passed_on", "language": "en"})
    table = pa.Table.from_pylist(rows)
    assert mark_foreign(table)["removed"].to_pylist() == [reason, None, "broken", reason, None]


def test_attributes_of_one_title_are_compared_with_their_like_and_so_are_verdicts_in_words():
    brand, kind = (
        compare_question("values", Question({"text": OFFER, "type": name}, Spans([span])))
        for name, span in (("Brand", "Nordvik"), ("Type", "bottle"))
    )
    yes, no = (compare_question("exact", Question({"title": OFFER}, Text(text))) for text in ("yes", "no"))
    passed = [
        compare_instruction("others", Instruction(id="1", task="generation", prompt=OFFER, target=target))
        for target in ("yes", "No", "a bottle")
    ]
    assert brand["within"] != kind["within"]
    assert (yes["compared"], yes["within"]) == (OFFER, "exact\nyes")
    assert no["within"] == "exact\nno"
    assert [one["within"] for one in passed] == ['others\n"yes"', 'others\n"No"', "others"]
