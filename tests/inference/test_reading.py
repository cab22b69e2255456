import pytest

from eshop_ray.inference.reading import Reading, read_prediction
from eshop_ray.schema import encode


def read(text, task="multiple_choice"):
    return read_prediction({"task": task, "generated_text": text})


def test_answer_is_parsed_without_the_reasoning_before_it():
    assert read("<think>\n\n</think>\n\n1") == read("1") == Reading("1")
    assert read("3 is wrong\n</think>\n\n1") == Reading("1")
    assert read("[THINK]a, b[/THINK]red, blue", "ner") == Reading(encode(["red", "blue"]))


@pytest.mark.parametrize("text", ["<think>", "<think>\n1 is what I would", " <|begin_of_thought|>1"])
def test_reasoning_that_was_cut_off_is_no_answer_and_says_so(text):
    assert read(text) == Reading(None, "reasoning: the answer ended before its reasoning did")
