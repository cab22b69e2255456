"""Verdicts that follow from given numbers."""

import pytest

from eshop_ray.evaluation.matrix.verdicts import Contender, choose, word_verdict


def lead(difference, p_value):
    return {"difference": difference, "p_adjusted": p_value, "detectable": 0.03}


def contend(model, strategy, score, behind=None, seconds=None, growth=None, size=2000):
    return Contender(model, strategy, size, score, behind, seconds, growth)


def test_a_clear_win_at_a_higher_price():
    llm = contend("llm", "single", 0.7, seconds=0.05)
    encoder = contend("encoder", "single", 0.6, lead(0.1, 0.0001), 0.01)
    base = contend("llm", "zero-shot", 0.2, lead(0.5, 0.0001), 0.05)
    assert word_verdict("ner", 871, [base, encoder, llm], price="price") == (
        "For ner take the LLM tuned on it: 0.700 against 0.600 of the encoder, a clear difference (p below 0.001, 871 "
        "rows), at 5.0 times the price."
    )


def test_a_tie_goes_to_the_cheaper_one():
    best = contend("llm", "single", 0.655, seconds=0.1)
    encoder = contend("encoder", "single", 0.65, lead(0.005, 0.4), 0.01)
    far = contend("llm", "mixed", 0.4, lead(0.255, 0.001), 0.001)
    assert choose([best, encoder, far]) is encoder
    assert word_verdict("queries", 871, [best, encoder, far], price="price") == (
        "For queries take the encoder: 0.650 against 0.655 of the LLM tuned on it, no clear difference (p = 0.400, 871 "
        "rows; so many would show 0.030), at 10% of the price, which decides."
    )


def test_a_tie_that_is_not_cheaper_goes_to_the_best():
    best = contend("encoder", "single", 0.655, seconds=0.01)
    llm = contend("llm", "single", 0.65, lead(0.005, 0.4), 0.1)
    mixed = contend("llm", "mixed", 0.64, lead(0.015, 0.3), 0.0099)
    assert choose([best, llm, mixed]) is best
    assert "take the encoder: 0.655 against 0.650 of the LLM tuned on it, no clear difference" in word_verdict(
        "a", 90, [best, llm, mixed]
    )


def test_speeds_that_were_not_measured_decide_nothing():
    best = contend("llm", "single", 0.7)
    encoder = contend("encoder", "single", 0.69, lead(0.01, 0.9), 0.001)
    assert choose([best, encoder]) is best
    assert " times the " not in word_verdict("a", 100, [best, encoder])


def test_of_several_cheap_ones_the_best_counts():
    best = contend("llm", "single", 0.7, seconds=0.1)
    slow = contend("llm", "few-shot", 0.69, lead(0.01, 0.5), 0.05)
    cheap = contend("encoder", "single", 0.68, lead(0.02, 0.5), 0.0101)
    cheapest = contend("seq2seq", "single", 0.66, lead(0.04, 0.2), 0.01)
    assert choose([best, slow, cheap, cheapest]) is cheap


def test_the_best_of_another_model_is_named_too():
    best = contend("llm", "single", 0.7, seconds=0.1)
    mixed = contend("llm", "mixed", 0.69, lead(0.01, 0.5), 0.1)
    encoder = contend("encoder", "single", 0.5, lead(0.2, 0.001), 0.01)
    verdict = word_verdict("a", 871, [best, mixed, encoder])
    assert "0.700 against 0.690 of the LLM tuned on all tasks, no clear difference" in verdict
    assert "The encoder has 0.500: a clear difference (p = 0.001, 871 rows), at 10.0 times the time." in verdict


def test_few_rows_are_no_ground_for_a_verdict():
    contenders = [contend("llm", "single", 1.0), contend("encoder", "single", 0.0, lead(1.0, 0.001))]
    assert word_verdict("a", 29, contenders) == "For a there is no verdict: 29 rows say little."
    assert "take the LLM tuned on it" in word_verdict("a", 30, contenders)


def test_what_is_missing_or_began_untrained_is_told():
    only = contend("llm", "single", 0.5)
    verdict = word_verdict(
        "a", 40, [only], ["the encoder after 500 rows"], ["the sequence-to-sequence model"], ["encoder"]
    )
    assert verdict == (
        "For a only the LLM tuned on it was measured: 0.500. Not compared, since missing: the encoder after 500 rows. "
        "Left out, since not pretrained: the sequence-to-sequence model. The encoder is no choice: it does not write."
    )
    assert word_verdict("a", 40, []).startswith("For a there is no verdict: nothing that counts was measured")


@pytest.mark.parametrize(
    ("difference", "p_value", "word"),
    [
        (0.05, 0.001, "helped (+0.050)"),
        (-0.05, 0.001, "did harm (-0.050)"),
        (0.01, 0.6, "changed nothing clearly (+0.010)"),
    ],
)
def test_whether_more_rows_helped(difference, p_value, word):
    chosen = contend("llm", "single", 0.7, growth=lead(difference, p_value), size=8000)
    other = contend("llm", "zero-shot", 0.1, lead(0.6, 0.001))
    assert word_verdict("a", 40, [chosen, other]).endswith(f"The last step of the ladder, to 8,000 rows, {word}.")
