"""The canary's judgement on made-up answers: what it finds, and that chance alone is never found."""

import random
from collections import Counter

import pytest

from eshop_ray.enrichment.canary import Answered, Canary, CanaryError, Limits
from eshop_ray.enrichment.canary.judge import find_trouble, has_choice
from eshop_ray.enrichment.canary.noise import find_median_bounds, is_above, is_another_mix
from eshop_ray.enrichment.canary.reference import Reference
from eshop_ray.tasks import get_task

LIMITS = Limits(max_failed_share=0.1, max_label_shift=0.4, max_length_ratio=2.0)
LABELS = [f'"label {number}"' for number in range(10)]


def answer(number, prediction='"label 0"', num_tokens=20, failed=False):
    return Answered(f"p{number}", failed, None if failed else prediction, num_tokens)


def draw_labels(chance, number):
    return chance.choices(LABELS, weights=range(1, 11), k=number)


def reference(number=1000, num_tokens=range(15, 26), models=("model",), failed_share=0.0):
    chance = random.Random(1)
    tokens = tuple(chance.choice(num_tokens) for _ in range(number))
    return Reference(failed_share, Counter(draw_labels(chance, number)), tokens, frozenset(models))


def find(answers, known=None, task="classification", limits=LIMITS):
    return [
        trouble.setting.partition("=")[0]
        for trouble in find_trouble(get_task(task), answers, known or reference(), limits)
    ]


def judge(answers, known=None, model="model", task="classification"):
    canary = Canary(
        [{"shard": "canary-0", "task": task}], {task: known or reference()}, LIMITS, model, {task: get_task(task)}
    )
    canary.add({"shard": "questions-0", "answers": [["never", True, None, 0]]})
    assert not canary.is_complete
    canary.add(
        {"shard": "canary-0", "answers": [[a.product_id, a.failed, a.prediction, a.num_tokens] for a in answers]}
    )
    assert canary.is_complete
    canary.judge()


@pytest.mark.parametrize("number", [1, 5, 14, 40, 128])
def test_answers_that_only_chance_moved_pass(number):
    chance = random.Random(number)
    for _ in range(30):
        labels = draw_labels(chance, number)
        answers = [answer(place, label, chance.randint(15, 25)) for place, label in enumerate(labels)]
        assert find(answers) == []


def test_model_that_generates_nothing_is_not_compared_by_length():
    """An encoder follows a language model, or the other way round."""
    labels = draw_labels(random.Random(3), 128)
    assert find([answer(place, label, num_tokens=0) for place, label in enumerate(labels)]) == []
    written = [answer(place, label) for place, label in enumerate(labels)]
    assert find(written, reference(num_tokens=[0])) == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_few_failures_are_no_sign(number):
    assert find([answer(place, failed=True) for place in range(number)]) == []


def test_failures_count_with_and_without_rows_to_compare_with():
    answers = [answer(number, '"label 9"', failed=number < 30) for number in range(42)]
    assert find(answers, Reference()) == ["enrich.canary_max_failed_share"]
    assert "enrich.canary_max_failed_share" in find(answers)
    assert find(answers, Reference(), limits=Limits(1.0, 1.0, 2.0)) == []


def test_a_task_that_fails_often_may_go_on_to():
    answers = [answer(number, LABELS[number % 10], failed=number % 2 == 0) for number in range(42)]
    assert "enrich.canary_max_failed_share" not in find(answers, reference(failed_share=0.5))


def test_model_that_says_the_same_of_everything_is_found():
    assert find([answer(number) for number in range(42)]) == ["enrich.canary_max_label_shift"]
    assert find([answer(number, '"junk"') for number in range(42)]) == ["enrich.canary_max_label_shift"]


def test_mix_of_a_task_without_a_choice_is_not_compared():
    assert has_choice(get_task("classification"))
    assert not has_choice(get_task("summarization"))
    assert find([answer(number, f'"text {number}"') for number in range(42)], task="summarization") == []


@pytest.mark.parametrize(("num_tokens", "found"), [(45, True), (200, True), (30, False), (8, True), (14, False)])
def test_answers_much_longer_or_shorter_are_found(num_tokens, found):
    answers = [answer(number, num_tokens=num_tokens + number % 2) for number in range(42)]
    assert find(answers, task="summarization") == ["enrich.canary_max_length_ratio"] * found


def test_labels_of_one_token_and_of_three_are_no_trouble():
    answers = [answer(number, num_tokens=3) for number in range(42)]
    assert find(answers, reference(num_tokens=[1]), task="summarization") == []


def test_young_table_is_not_compared_with():
    answers = [answer(number, num_tokens=500) for number in range(42)]
    assert find(answers, reference(number=49)) == []
    assert len(find(answers, reference(number=60))) == 2


def test_message_names_task_move_products_and_setting_and_no_answer_that_the_table_does_not_have():
    answers = [answer(number, '"secret words"') for number in range(42)]
    with pytest.raises(CanaryError, match=r"^classification: in the canary, the first 42 answers") as caught:
        judge(answers)
    text = str(caught.value)
    assert "answers that the table does not have went from 0.0% to 100.0%" in text
    assert "(e.g. p0, p1, p2); nothing was changed." in text
    assert text.endswith("run it once with enrich.canary_max_label_shift=1")
    assert "secret" not in text
    assert caught.value.exit_status == 2


def test_message_says_when_the_model_is_another():
    answers = [answer(number, num_tokens=100 + number) for number in range(42)]
    with pytest.raises(CanaryError, match=r"from 20 to 120\.5 generated tokens.*\(e\.g\. p41, p40, p39\)") as caught:
        judge(answers, model="another", task="summarization")
    assert "The model is another than that of the table's rows (`enrich.model`)" in str(caught.value)
    assert str(caught.value).endswith("enrich.canary_max_length_ratio=7")


def test_label_that_grew_most_is_named():
    with pytest.raises(CanaryError, match=r"`label 0` went from \d\.\d% to 100\.0%; 0\.9\d of the answers moved"):
        judge([answer(number) for number in range(42)])


def test_noise_of_a_sample_decides():
    assert not is_above(3, 3, 0.1)
    assert is_above(20, 42, 0.1)
    assert not is_above(0, 0, 0.0)
    assert find_median_bounds([5] * 14) == (float("-inf"), float("inf"))
    assert find_median_bounds(range(15)) == (0, 14)
    low, high = find_median_bounds(range(5000))
    assert 2300 < low < 2500 < high < 2700
    assert not is_another_mix({"a": 5}, {"a": 500, "b": 500})
    assert is_another_mix({"a": 42}, {"a": 500, "b": 500})
