"""What every task owes its users, checked on its own worked examples."""

import json
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from eshop_ray.errors import UserError
from eshop_ray.schema import decode, encode
from eshop_ray.tasks import get_task, list_tasks
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.product import ATTRIBUTES, LABELS, REVIEWS, UnaskableError, take_all

TASKS = [get_task(name) for name in list_tasks()]
EXAMPLES = [
    pytest.param(task, example, id=f"{task.name}-{number}")
    for task in TASKS
    for number, example in enumerate(task.examples)
]
JUNK = st.text(st.characters()) | st.text("0123456789,.[]()'\"=| \n-½²")

each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
each_example = pytest.mark.parametrize(("task", "example"), EXAMPLES)


@each_task
def test_a_task_travels_to_workers_by_the_names_of_its_functions(task):
    assert pickle.loads(pickle.dumps(task)) == task


def without_target(example):
    return {name: value for name, value in example.items() if name != "target"}


def test_tasks_are_the_files_of_the_folder():
    assert len(TASKS) >= 8
    assert [task.name for task in TASKS] == list_tasks()


def test_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown task `rankin`; did you mean `ranking`\?"):
        get_task("rankin")


@each_task
def test_says_what_it_is(task):
    assert task.instruction
    assert task.examples
    assert task.version >= 1
    assert task.max_tokens >= 1
    assert get_metric(task.metric).name == task.metric
    assert decode(encode(task.unparsed)) == task.unparsed


@each_example
def test_written_out_and_read_back_scores_one(task, example):
    target = decode(encode(example["target"]))
    prediction = decode(encode(task.parse(task.format_target(target))))
    metric = get_metric(example.get("metric", task.metric))
    assert metric.score_rows([target], [prediction]) == [pytest.approx(1.0)]
    assert metric.aggregate([target], [prediction]) == pytest.approx(1.0)


@each_example
def test_unreadable_answer_scores_below_one(task, example):
    metric = get_metric(example.get("metric", task.metric))
    assert metric.aggregate([example["target"]], [task.unparsed]) < 1.0


@each_example
def test_prompt_is_instruction_then_row(task, example):
    system, user = task.build_messages(without_target(example))
    assert system == {"role": "system", "content": task.instruction}
    assert user["role"] == "user"
    assert user["content"].strip()


@each_example
def test_declared_output_admits_the_target(task, example):
    output = task.output(without_target(example)) or {}
    text = task.format_target(example["target"])
    assert text in output.get("choice", [text])
    assert re.fullmatch(output.get("regex", "(?s:.*)"), text)
    assert set(output) <= {"choice", "regex", "json"}
    if "json" in output:
        assert admits_json(output["json"], text)
        assert not admits_json(output["json"], text.replace(" ", "  ", 1))  # which could go on for ever


@each_task
@given(text=JUNK)
def test_parser_survives_any_text(task, text):
    prediction = task.parse(text)
    assert decode(encode(prediction)) == prediction
    assert type(prediction) is type(task.unparsed)


@given(st.lists(st.sampled_from("a |=\\.*+?()[]{}^$#&~-/%\"'½é"), min_size=1, max_size=8))
def test_tagging_admits_any_characters(characters):
    task = get_task("ner_tagging")
    tokens = [f"x{character.strip()}y" for character in characters]
    target = {"tokens": tokens, "tags": ["B-color", *["I-color"] * (len(tokens) - 1)]}
    text = task.format_target(target)
    assert re.fullmatch(task.output({"tokens": tokens})["regex"], text)
    assert get_metric(task.metric).aggregate([target], [task.parse(text)]) == 1.0


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=1))
def test_entities_of_any_text_survive(spans):
    task = get_task("ner")
    assert task.parse(task.format_target(spans)) == spans


PRODUCT_TASKS = [pytest.param(task, id=task.name) for task in TASKS if task.product]
GIVEN = {REVIEWS: ["Soft and warm."], LABELS: ("Garden", "Kitchen"), ATTRIBUTES: {"color": ["red"], "size": None}}


def admits_json(schema, text):
    """Whether vLLM's backend `guidance` lets a model write a text."""
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults={"whitespace_flexible": True})
    tokenizer = LLTokenizer("byte")
    tokens = tokenizer.tokenize_str(text)
    matcher = LLMatcher(tokenizer, grammar)
    assert not matcher.get_error()
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.mark.parametrize("task", PRODUCT_TASKS)
def test_record_made_from_a_product_can_be_asked(task):
    values = {name: GIVEN.get(name, "red wool scarf") for name in (*task.product.fields, *task.product.optional)}
    record = task.product.build(values)
    assert task.build_messages(record)[1]["content"]
    task.output(record)


@pytest.mark.parametrize("task", PRODUCT_TASKS)
def test_product_that_has_nothing_is_not_asked(task):
    names = (*task.product.fields, *task.product.optional)
    values = {name: [] if name in GIVEN else "" for name in names}
    if not all(values[name] for name in task.product.empty_without):
        return  # nothing is built of it
    try:
        assert not task.product.build(values)
    except UnaskableError as problem:
        reason, message = problem.args
        assert reason
        assert message


@each_task
def test_typed_column_takes_what_the_parser_returns(task):
    kinds = {"text": str, "entities": list | dict, None: object}
    assert isinstance(task.unparsed, kinds[task.column])


def test_form_without_a_builder_takes_its_columns_as_they_are():
    assert take_all({"name": "scarf", "brand": ""}) == {"name": "scarf", "brand": ""}
    with pytest.raises(UnaskableError) as missing:
        take_all({"name": "", "brand": ""})
    assert missing.value.args == ("missing_text", "`name` and `brand` are missing or empty")
