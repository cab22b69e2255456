"""A block of texts is repaired, and told why some had better go."""

import json

import pyarrow as pa
import pytest

from eshop_ray.config.cleaning import TextCleaningSection
from eshop_ray.data.text_cleaning import clean_block, clean_texts, count_reasons
from eshop_ray.data.text_cleaning.pages import read_page
from eshop_ray.errors import UserError

SECTION = TextCleaningSection()
PAGE = (
    "<!DOCTYPE html><html><head><title>Shop</title></head><body><nav>Home</nav><main><h1>Pan</h1><ul><li>24 cm</li>"
    "</ul></main><footer>Imprint</footer></body></html>"
)


def clean(*texts, section=SECTION):
    block = pa.table({"id": [f"{number}" for number in range(len(texts))], "text": pa.array(texts, pa.string())})
    return clean_block(block, section, "text").to_pylist()


@pytest.mark.parametrize(
    ("text", "cleaned", "repairs"),
    [
        ("<p>Cast <b>iron</b>.</p>", "Cast iron.", ["markup"]),
        (PAGE, "Pan\n24 cm", ["page"]),
        ("sch\u00c3\u00b6n und gut", "schön und gut", ["unicode"]),
        ("warm\x00 and soft", "warm and soft", ["unicode"]),
        ("mail a@b.de now", "mail [EMAIL] now", ["personal"]),
        ("<b>sch\u00c3\u00b6n</b> a@b.de", "schön [EMAIL]", ["markup", "unicode", "personal"]),
        ("“Quoted” – ½ ﬁne, ＡＢ", "“Quoted” – ½ ﬁne, ＡＢ", []),  # noqa: RUF001
        ("size < 5 & R&D", "size < 5 & R&D", []),
    ],
)
def test_repairs(text, cleaned, repairs):
    assert clean(text) == [{"id": "0", "text": cleaned, "reason": None, "repairs": repairs}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "empty"),
        ("  \n", "empty"),
        ("ok", "too_short"),
        ("long " * 5000, "too_long"),
        ("!!! 5/5 *** :)", "few_letters"),
        ("THIS IS THE BEST PAN EVER", "all_capitals"),
        ("ÜBERAUS SCHÖNE GROSSE PFANNE", "all_capitals"),
        ("good " * 30, "repeated_words"),
        ("IKEA LACK", None),
        ("good good good", None),
        ("この鍋はとても使いやすいです。毎日使っています。", None),
    ],
)
def test_reasons(text, reason):
    assert clean(text)[0]["reason"] == reason


def test_languages():
    section = TextCleaningSection(languages=("de", "ja"))
    rows = clean("Die Pfanne ist gut.", "The pan is good.", "この鍋は良いです。", "Iron pan", section=section)
    assert [row["reason"] for row in rows] == [None, "language", None, None]


def test_a_language_that_is_none_is_refused_before_work():
    with pytest.raises(UserError, match="deutsch"):
        clean_texts(None, TextCleaningSection(languages=("deutsch",)))


def test_personal_data_may_stay():
    assert clean("mail a@b.de", section=TextCleaningSection(personal="keep"))[0]["text"] == "mail a@b.de"


def test_an_earlier_reason_stays_and_columns_keep_their_places():
    block = pa.table({"text": ["ok", "a fine pan"], "reason": ["mine", None], "id": ["a", "b"]})
    rows = clean_block(block, SECTION, "text")
    assert rows.column_names == ["text", "id", "reason", "repairs"]
    assert rows["reason"].to_pylist() == ["mine", None]


def test_an_empty_block():
    assert clean() == []


@pytest.mark.parametrize("page", ["<html></html>", "<body>", "<html><nav>x</nav>", "<main\x00>a</main>"])
def test_odd_pages(page):
    assert isinstance(read_page(page), str)


class Blocks:
    """Stands for a dataset."""

    def __init__(self, blocks):
        self.blocks = blocks

    def map_batches(self, function, fn_kwargs=None, **_):
        return Blocks([function(block, **(fn_kwargs or {})) for block in self.blocks])

    def iter_rows(self):
        return (row for block in self.blocks for row in block.to_pylist())


@pytest.mark.parametrize("size", [1, 3, 40])
def test_counts_and_examples_do_not_depend_on_blocks(size):
    texts = ["ok", "<b>a fine pan</b>", "good " * 30, "a fine lamp", "", "no", "x", "y", "z", "q"]
    rows = pa.table({"id": [f"r{9 - number}" for number in range(10)], "text": texts})
    blocks = Blocks([rows.slice(start, size) for start in range(0, 10, size)])
    told = count_reasons(clean_texts(blocks, SECTION))
    assert told["num_rows"] == 10
    assert told["removed"] == {"too_short": 6, "repeated_words": 1, "empty": 1}
    assert told["repaired"] == {"markup": 1}
    assert [example["id"] for example in told["examples"]["too_short"]] == ["r0", "r1", "r2", "r3", "r4"]
    assert len(json.dumps(told)) > 0
