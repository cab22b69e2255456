"""Languages of short shop texts."""

import pytest

from eshop_ray.data.language import LANGUAGES, UNKNOWN, identify
from eshop_ray.errors import UserError

TEXTS = {
    "en": ["The pan arrived scratched and I sent it back.", "Waterproof jacket with hood for men, size L"],
    "de": ["Die Pfanne kam zerkratzt an.", "Wasserdichte Jacke mit Kapuze für Herren, Größe L"],
    "es": ["La sartén llegó rayada y la devolví.", "Chaqueta impermeable con capucha para hombre, talla L"],
    "fr": ["La poêle est arrivée rayée.", "Veste imperméable à capuche pour homme, taille L"],
    "it": ["La padella è arrivata graffiata.", "Giacca impermeabile con cappuccio da uomo, taglia L"],
    "ja": ["届いた商品が壊れていたので返品しました。", "メンズ 防水ジャケット フード付き Lサイズ"],
    "zh": ["商品质量很好,物流也很快。", "男士防水夹克 带帽 L码"],
}


@pytest.mark.parametrize("code", TEXTS)
@pytest.mark.parametrize("languages", [LANGUAGES, ()])
def test_sentences_and_titles(code, languages):
    assert identify(TEXTS[code], languages) == [code] * 2


def test_other_scripts_tell_the_language_by_themselves():
    assert identify(["Молния сломалась через две недели.", "지퍼가 이 주 만에 고장 났습니다."]) == ["ru", "ko"]


def test_texts_that_tell_nothing():
    assert identify(["", None, "12 34", "👍"]) == [UNKNOWN] * 4


def test_the_choice_may_be_narrowed():
    text = "Gereedschap voor de tuin"
    assert identify([text], ()) == ["nl"]
    assert identify([text], ("en", "de")) == ["de"]
    assert identify([text], ()) == ["nl"]


def test_a_code_that_is_none():
    with pytest.raises(UserError, match="no language is known as xx"):
        identify(["a"], ("xx",))
