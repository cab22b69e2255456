"""A quantized model that loses too much is not promoted, and the message says where."""

import logging

import pytest

from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError
from eshop_ray.evaluation.quantization_check import check_quantized

SETTINGS = QuantizeSection(max_lost_share=0.1)


def make_metrics(num_rows=10, **scores):
    return {"groups": {name: {"score": score, "num_rows": num_rows} for name, score in scores.items()}}


def test_limit_itself_is_allowed(caplog):
    caplog.set_level(logging.INFO)
    metrics = {"merged": make_metrics(ner=0.5, ranking=0.0), "quantized": make_metrics(ner=0.45, ranking=0.0)}
    check_quantized(metrics, SETTINGS)
    assert "promoted: no group loses more than 10.0%" in caplog.text


def test_each_group_counts_for_itself():
    parent = make_metrics(ner=0.5, ranking=0.4, titles=0.2)
    metrics = {"base": parent, "merged": parent, "quantized": make_metrics(ner=0.9, ranking=0.3, titles=0.1)}
    with pytest.raises(UserError) as refused:
        check_quantized(metrics, SETTINGS)
    message = str(refused.value)
    assert "it costs titles 50.0% (0.200 -> 0.100), ranking 25.0% (0.400 -> 0.300) of the score of `merged`" in message
    assert "10.0% are allowed; use `merged`" in message


def test_parent_is_the_model_that_was_quantized():
    metrics = {"base": make_metrics(ner=0.4), "merged": make_metrics(ner=0.9), "quantized": make_metrics(ner=0.4)}
    check_quantized(metrics, SETTINGS.model_copy(update={"model": "base"}))
    with pytest.raises(UserError, match="score of `merged`"):
        check_quantized(metrics, SETTINGS)


@pytest.mark.parametrize("names", [("base", "merged"), ("quantized",), ("base", "quantized")])
def test_nothing_to_compare(names):
    check_quantized({name: make_metrics(ner=0.5 / len(name)) for name in names}, SETTINGS)


@pytest.mark.parametrize("parent", [make_metrics(num_rows=9, ner=0.5), make_metrics(ner=0.5, ranking=0.5)])
def test_other_rows(parent):
    with pytest.raises(UserError, match=r"have not answered the same rows; run `eshop batch-infer`"):
        check_quantized({"merged": parent, "quantized": make_metrics(ner=0.5)}, SETTINGS)
