"""A block of texts is repaired, and told why some had better go."""

# ruff: noqa: RUF001  (signs as people write them)

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
        ("連絡は０９０－１２３４－５６７８まで", "連絡は[PHONE]まで", ["personal"]),
        ("<b>sch\u00c3\u00b6n</b> a@b.de", "schön [EMAIL]", ["markup", "unicode", "personal"]),
        ("“Quoted” – ½ ﬁne, ＡＢ", "“Quoted” – ½ ﬁne, ＡＢ", []),
        ("size < 5 & R&D", "size < 5 & R&D", []),
    ],
)
def test_repairs(text, cleaned, repairs):
    assert clean(text) == [{"id": "0", "text": cleaned, "reason": None, "repairs": repairs}]


JAPANESE = (
    "先月このフライパンを買いました。家族が四人いるので、少し大きめの28センチを選びました。届いたときはとても重いと思いましたが、"
    "使っているうちに慣れました。最初の日に目玉焼きを作ってみたところ、油を少ししか引いていないのに、まったくくっつきませんでした。"
    "前に使っていたものは半年で焦げつくようになったので、とても嬉しかったです。朝はパンを焼き、昼は野菜を炒め、夜は肉を焼くのに"
    "使っています。熱が全体にゆっくり伝わるので、強い火にする必要がありません。説明書には中火で使うようにと書いてありました。"
    "洗うのも簡単で、お湯とやわらかいスポンジだけできれいになります。ただ、取っ手が少し熱くなるので、布を使ったほうがいいと思います。"
    "それから、ふたが付いていないのは残念です。別に買わなければなりませんでした。箱の中には薄い紙が一枚入っているだけだったので、"
    "もう少し丁寧に包んでほしかったです。届いたときに角が少し傷ついていましたが、店に連絡したら、すぐに新しいものを送ってくれました。"
    "電話の人もとても親切でした。値段は安くありませんが、長く使えるものだと考えれば高くないと思います。友達にも勧めました。母の誕生日に"
    "もう一つ買うつもりです。色は黒と赤がありますが、私は赤のほうが好きです。台所に掛けておくだけでもきれいに見えます。三か月使ってから"
    "また書きますが、今のところ満足しています。迷っている人には、ぜひ一度使ってみてほしいです。小さいほうも軽くて便利だそうです。"
)
CHINESE = (
    "这口锅是我上个月买的，用到现在已经一个多月了，想说说自己的感受。收到的时候包装很好，外面有两层纸箱，里面还有泡沫，一点也没有碰坏。"
    "打开以后觉得它比我想的要重一些，不过拿习惯了就好。第一次用的时候，我按照说明书先用小火把锅烧热，再放一点油，煎了两个鸡蛋，"
    "真的一点也不粘。我以前用的那口锅，用了半年就开始粘了，每次洗都要花很长时间，所以这次特别高兴。家里有四个人，早上煎蛋，中午炒菜，"
    "晚上有时候还用它来煎鱼，大小正好合适。它受热很均匀，用中火就够了，不需要开大火，这样也省了不少煤气。洗起来也很方便，用热水和软布"
    "擦一擦就干净了。要说缺点，就是把手用久了会有点热，最好垫一块布。还有就是没有盖子，我只好另外买了一个，要是能一起送就更好了。"
    "有一次锅边上出现了一个小黑点，我给店里打了电话，他们很客气，第二天就给我换了一口新的，这一点让我很满意。价钱不算便宜，但是如果能"
    "用上好几年，我觉得还是值得的。我妈妈看到以后也很喜欢，说等到过年的时候也要买一口。颜色有黑的和红的两种，我选的是红的，挂在厨房里"
    "也很好看。总的来说，这是一口好锅，我会推荐给朋友。等再用几个月，我会回来写一写它是不是还像现在这样好用。"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (JAPANESE, None),
        (CHINESE, None),
        ("いいですね。" * 20, "repeated_words"),
        ("质量很好，" * 20, "repeated_words"),
        ("ดีมาก " * 20, "repeated_words"),
        (JAPANESE[:120] + "最高" * 200, "repeated_words"),
        ("Das Muster heißt 花火. " + "good " * 40, "repeated_words"),
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


@pytest.mark.parametrize("text", [JAPANESE, CHINESE])
def test_letters_that_recur_are_no_words_that_repeat(text):
    assert clean(text, section=TextCleaningSection(max_repeated_share=0.3))[0]["reason"] is None


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
