"""Languages of texts."""

import pytest

from eshop_ray.data.language import UNKNOWN, identify

TEXTS = {
    "en": "The zip broke after two weeks, but the fabric is warm.",
    "de": "Nach zwei Wochen ist der Reißverschluss kaputt gegangen.",
    "fr": "La fermeture s'est cassée au bout de deux semaines.",
    "es": "La cremallera se rompió después de dos semanas.",
    "it": "La cerniera si è rotta dopo due settimane.",
    "ja": "二週間でファスナーが壊れました。",
    "zh": "拉链用了两周就坏了。",
    "ru": "Молния сломалась через две недели.",
    "ko": "지퍼가 이 주 만에 고장 났습니다.",
}


def test_sentences_of_reviews():
    assert dict(zip(TEXTS, identify(TEXTS.values()), strict=True)) == {code: code for code in TEXTS}


def test_a_text_without_letters_has_no_language():
    assert identify(["", "500 / 12", "★★★★★", "a\x00"]) == [UNKNOWN] * 3 + identify(["a"])


def test_only_languages_that_are_given():
    assert identify([TEXTS["it"]], ("en", "de")) != ["it"]
    with pytest.raises(ValueError, match="xx"):
        identify(["a"], ("xx",))
