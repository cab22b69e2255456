"""Metrics against values worked out by hand, ShopBench's corners, failed rows and missing libraries."""

import math
import random
import sys
import warnings
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.errors import UserError
from eshop_ray.tasks.metrics import METRICS, get_metric, similarity
from eshop_ray.tasks.metrics.entities import align_spans
from eshop_ray.tasks.metrics.similarity import MINILM, score_similarity

QUERY = {
    "tokens": ["red", "wool", "scarf", "for", "women"],
    "tags": ["B-color", "B-material", "B-core_product_type", "O", "B-department"],
}
QUERY_SPANS = [["red", "color"], ["wool", "material"], ["scarf", "core_product_type"], ["women", "department"]]
PLAIN = {"tokens": ["for", "sale"], "tags": ["O", "O"]}

GOLD: dict[str, tuple[list[Any], list[Any]]] = {
    "accuracy": ([2, "toys"], [2, "toys"]),
    "hit rate@3": ([[4, 9], [1]], [[9, 4], [1, 2, 3]]),
    "rougel": (["A warm scarf.", ["Soft.", "Soft and warm."]], ["A warm scarf.", "Soft and warm."]),
    "sent-transformer": (["A warm scarf.", ["Soft."]], ["A warm scarf.", "Soft."]),
    "micro f1": ([["Red", " wool "], []], [["wool", "red"], []]),
    "ndcg": ([[0.0, 1.0, 0.01, 0.1, 0.1], [0, 2]], [[2, 4, 5, 3, 1], [2, 1]]),
    "bleu": (["A warm scarf for women"], ["A warm scarf for women"]),
    "jp-bleu": (["暖かいウールのスカーフです"], ["暖かいウールのスカーフです"]),
    "entity f1": ([QUERY, PLAIN], [QUERY_SPANS, []]),
    "attribute f1": ([{"color": "red", "size": None}, {}], [{"color": " RED "}, {"size": None}]),
}
"""Targets and the answers that are right, per metric."""


def score_one(metric: str, target: Any, prediction: Any) -> float:
    (score,) = get_metric(metric).score_rows([target], [prediction])
    return score


@pytest.mark.parametrize("name", GOLD)
def test_gold_scores_one(name: str) -> None:
    targets, predictions = GOLD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        assert get_metric(name).score_rows(targets, predictions) == [1.0] * len(targets)
        assert get_metric(name).aggregate(targets, predictions) == 1.0


@pytest.mark.parametrize("name", GOLD)
def test_failed_row_scores_zero(name: str) -> None:
    targets, predictions = GOLD[name]
    assert get_metric(name).score_rows([targets[0], targets[0]], [None, predictions[0]]) == [0.0, 1.0]
    assert get_metric(name).aggregate(targets[:1], [None]) == 0.0


@pytest.mark.parametrize("name", GOLD)
def test_rows_and_predictions_have_to_match(name: str) -> None:
    targets, predictions = GOLD[name]
    with pytest.raises(ValueError, match="zip"):
        get_metric(name).score_rows([*targets, targets[0]], predictions)


@pytest.mark.parametrize("name", GOLD)
def test_group_score_is_a_function_of_sums_over_rows(name: str) -> None:
    """Rows counted one by one, in any order, give the group's score; most groups are the mean of their rows."""
    metric = get_metric(name)
    targets, predictions = [values * 2 for values in GOLD[name]]
    predictions = [None, *predictions[1:]]
    rows = [metric.count_rows([target], [answer]) for target, answer in zip(targets, predictions, strict=True)]
    score = metric.aggregate(targets, predictions)
    assert 0.0 < score < 1.0
    assert float(metric.combine(np.concatenate(rows[::-1]).sum(axis=0))) == pytest.approx(score, abs=1e-15)
    assert metric.combine(np.stack([row[0] for row in rows])[:, None]).shape == (len(rows), 1)
    if "f1" not in name:
        assert score == fmean(metric.score_rows(targets, predictions))


@pytest.mark.parametrize("name", GOLD)
def test_group_without_rows_has_no_score(name: str) -> None:
    with pytest.raises(ValueError, match="without rows"):
        get_metric(name).aggregate([], [])


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'rougel'"):
        get_metric("rouge-l")


def test_attributes_are_scored_by_their_pairs() -> None:
    metric = get_metric("attribute f1")
    targets = [{"color": "red", "material": "wool", "size": None}] * 3
    predictions = [{"color": "red", "material": "silk"}, {}, {"color": None, "material": "wool", "size": "XL"}]
    assert metric.score_rows(targets, predictions) == [0.5, 0.0, 0.5]
    assert metric.aggregate(targets, predictions) == pytest.approx(2 * 2 / (4 + 6))


def test_names_are_shopbenchs() -> None:
    assert set(METRICS) == {*GOLD, "multilingual-sent-transformer"}


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("rougel", "rouge_score.rouge_scorer", "pip install 'rouge-score'"),
        ("bleu", "sacrebleu", r"pip install 'sacrebleu\[ja\]'"),
        ("jp-bleu", "MeCab", r"pip install 'sacrebleu\[ja\]'"),
        ("entity f1", "seqeval.scheme", "pip install 'seqeval'"),
    ],
)
def test_missing_library_is_an_error(name: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=command):
        get_metric(name).aggregate(*GOLD[name])


def test_encoder_that_cannot_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("sentence_transformers")

    def refuse(_: str) -> None:
        raise OSError("offline")

    monkeypatch.setattr(library, "SentenceTransformer", refuse)
    with pytest.raises(UserError, match="paraphrase-multilingual-MiniLM-L12-v2"):
        get_metric("multilingual-sent-transformer").score_rows(["a"], ["a"])


def test_accuracy() -> None:
    assert get_metric("accuracy").score_rows([1, 1, "a"], [1, -1, "A"]) == [1.0, 0.0, 0.0]
    assert get_metric("accuracy").aggregate([1, 1, 0, 0], [1, 0, 0, None]) == 0.5


@pytest.mark.parametrize(
    ("target", "prediction", "score"),
    [
        ([1, 2, 3], [3, 9, 1], 2 / 3),
        ([1, 2, 3, 4], [1, 2, 3, 4], 3 / 4),
        ([1, 2], [1, 1, 1], 1 / 2),
        ([5], [1, 2, 3, 5], 0.0),
        ([5], [], 0.0),
        ([], [5], 0.0),
    ],
)
def test_hit_rate(target: list[int], prediction: list[int], score: float) -> None:
    assert score_one("hit rate@3", target, prediction) == score


LOG2_3 = math.log2(3)


@pytest.mark.parametrize(
    ("target", "prediction", "score"),
    [
        ([1, 0], [2, 1], 1 / LOG2_3),
        ([2, 1, 0], [2, 1, 3], (1 + 3 / LOG2_3) / (3 + 1 / LOG2_3)),
        ([1, 1, 0], [3, 1, 2], (1 / LOG2_3 + 1 / 2) / (1 + 1 / LOG2_3)),
        ([1, 0], [1], 1.0),
        ([1, 0], [], 0.0),
        ([1, 1], [7, 1], (1 / LOG2_3) / (1 + 1 / LOG2_3)),  # beyond the last option: no relevance
        ([1, 0], [2, 2, 1], 0.0),  # cut to two before counting
        ([0, 1], [0, 1], 1.0),  # option 0 reads the last one
        ([0, 0], [1, 2], 0.0),
        ([], [1], 0.0),
    ],
)
def test_ndcg(target: list[float], prediction: list[int], score: float) -> None:
    assert score_one("ndcg", target, prediction) == pytest.approx(score, abs=1e-15)


@given(st.lists(st.sampled_from([0.0, 0.01, 0.1, 1.0, 2.0]), min_size=1, max_size=5).filter(any))
def test_ndcg_of_the_ideal_order_is_one(target: list[float]) -> None:
    order = sorted(range(1, len(target) + 1), key=lambda option: -target[option - 1])
    assert score_one("ndcg", target, order) == 1.0


def test_micro_f1_sums_counts() -> None:
    targets = [["red", "wool"], ["blue"]]
    predictions = [["RED ", "silk", "red"], None]  # tp 1, fp 2, fn 1, then fn 1
    assert get_metric("micro f1").aggregate(targets, predictions) == pytest.approx(2 * 1 / 3 * 1 / 3 / (2 / 3))
    assert get_metric("micro f1").score_rows(targets, predictions) == [pytest.approx(0.4), 0.0]
    assert get_metric("micro f1").aggregate([["red"]], [[]]) == 0.0
    assert score_one("micro f1", [], ["red"]) == 0.0


def test_rouge_l() -> None:
    assert score_one("rougel", "warm scarves", "warm scarf knitted") == pytest.approx(0.4)
    assert score_one("rougel", "knitting warmly", "knitted") == pytest.approx(2 / 3)  # stems agree
    assert score_one("rougel", ["other", "a red tent"], "a red tent") == 1.0
    assert score_one("rougel", "暖かい", "暖かい") == 0.0  # the library reads Latin letters only


def test_bleu() -> None:
    assert score_one("bleu", "A warm scarf for women", "\na WARM scarf for women\nand more") == 1.0
    # precisions 4/5, 3/4, 2/3, 1/2 and no brevity penalty
    assert score_one("bleu", "a b c d e", "a b c d f") == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert score_one("bleu", "red tent", "red tent") == 0.0  # no 4-gram: a corpus of one, as in ShopBench
    assert score_one("bleu", "red tent", "") == 0.0
    assert score_one("bleu", ["x y z w", "a b c d"], "a b c d") == 1.0


def test_japanese_bleu_cuts_words() -> None:
    reference, answer = "暖かいウールのスカーフです", "暖かいウールのスカーフでした"
    assert score_one("bleu", reference, answer) == 0.0
    assert 0.4 < score_one("jp-bleu", reference, answer) < 1.0


def test_similarity_follows_meaning() -> None:
    near, far = score_similarity(["a warm scarf", "quarterly tax report"], ["a woollen scarf"] * 2, MINILM)
    assert near > 0.6 > 0.3 > far >= 0.0


def test_similarity_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"east": [2.0, 0.0], "north": [0.0, 1.0], "northeast": [3.0, 3.0], "west": [-1.0, 0.0]}

    class Compass:
        def encode(self, texts: list[str], **_: Any) -> list[list[float]]:
            return [vectors[text] for text in texts]

    monkeypatch.setattr(similarity, "load_encoder", lambda _: Compass())
    targets = ["east", "north", "northeast", "west", ["east", "northeast"], ["east", "west"], ["west"]]
    scores = score_similarity(targets, ["east"] * len(targets), "compass")
    assert scores == pytest.approx([1, 0, 0.5**0.5, 0, (1 + 0.5**0.5) / 2, 0, 0])


@pytest.mark.parametrize(
    ("tokens", "spans", "tags"),
    [
        ("red wool scarf", [["red", "color"], ["wool scarf", "x"]], "B-color B-x I-x"),
        ("case for case", [["case", "O"], ["for", "O"], ["case", "x"]], "O O B-x"),
        ("case for case", [["case", "x"]], "B-x O O"),
        ("a b c", [["c", "x"], ["a", "x"]], "O O B-x"),  # nothing stands before the place any more
        ("a b c", [["q", "x"], ["b", "x"]], "O B-x O"),
        ("a b c", [["c d", "x"], ["b  c", "y"]], "O B-y I-y"),
        ("12 (x)", [["(x)", "UoM"]], "O B-UoM"),
        ("a", [["", "x"], [" ", "x"]], "O"),
    ],
)
def test_align_spans(tokens: str, spans: list[list[str]], tags: str) -> None:
    assert align_spans(tokens.split(), spans) == tags.split()


def test_entity_f1() -> None:
    entity_f1 = get_metric("entity f1")
    half_right = [["red", "color"], ["wool scarf", "core_product_type"]]  # 1 of 2 right, 1 of 4 found
    assert score_one("entity f1", QUERY, half_right) == pytest.approx(1 / 3)
    assert score_one("entity f1", QUERY, []) == 0.0
    assert score_one("entity f1", PLAIN, [["sale", "price"]]) == 0.0
    assert score_one("entity f1", PLAIN, [["sale", "O"]]) == 1.0
    # 5 right of 6 predicted, 8 to find: a failed row finds nothing
    predictions = [QUERY_SPANS, [["sale", "price"]], None, half_right[:1]]
    assert entity_f1.aggregate([QUERY, PLAIN, QUERY, QUERY], predictions) == pytest.approx(
        2 * (5 / 6) * (5 / 12) / (5 / 6 + 5 / 12)
    )


def test_entity_f1_is_strict() -> None:
    orphan = {"tokens": ["red", "scarf"], "tags": ["I-color", "B-core_product_type"]}
    assert score_one("entity f1", orphan, [["scarf", "core_product_type"]]) == 1.0


def test_entity_f1_is_that_of_seqeval() -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    chance = random.Random(0)
    tokens = list("abcdefgh")
    expected = [chance.choices(["O", "B-x", "I-x", "B-y", "I-y"], k=8) for _ in range(60)]
    spans = [[[token, chance.choice("xyO")] for token in tokens if chance.random() < 0.5] for _ in expected]
    found = [align_spans(tokens, row) for row in spans]
    targets = [{"tokens": tokens, "tags": tags} for tags in expected]
    score = f1_score(expected, found, mode="strict", scheme=IOB2, zero_division=1)
    assert 0.0 < score < 1.0
    assert get_metric("entity f1").aggregate(targets, spans) == score


def test_entity_f1_needs_a_tag_for_every_token() -> None:
    with pytest.raises(ValueError, match="as many tags as tokens"):
        get_metric("entity f1").aggregate([{"tokens": ["a", "b"], "tags": ["O"]}], [[]])


def test_nothing_to_find_and_nothing_found() -> None:
    assert get_metric("entity f1").aggregate([PLAIN, PLAIN], [[], []]) == 1.0
    assert get_metric("micro f1").aggregate([[], []], [[], []]) == 0.0  # the benchmark's sums are all 0
    assert get_metric("micro f1").score_rows([[], []], [[], None]) == [1.0, 0.0]
    assert get_metric("entity f1").score_rows([PLAIN, PLAIN], [[], None]) == [1.0, 0.0]
