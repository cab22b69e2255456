"""Languages of short shop texts."""

import pytest

from eshop_ray.data.language import UNKNOWN, identify

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
def test_sentences_and_titles(code):
    assert identify(TEXTS[code]) == [code] * 2


def test_texts_that_tell_nothing():
    assert identify(["", None, "12 34", "👍"]) == [UNKNOWN] * 4


def test_the_choice_may_be_narrowed():
    text = "Gereedschap voor de tuin"
    assert identify([text]) == ["nl"]
    assert identify([text], among=("en", "de")) == ["de"]
    assert identify([text]) == ["nl"]
