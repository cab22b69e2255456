"""Blocks of prompts become questions, and outcomes columns; what a row holds costs at most that row."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.inference.dispatch.blocks import ANSWER_FIELDS, BlockRow, PromptForm, add_answers, read_rows
from eshop_ray.inference.requests import Answer, Failure, Request
from eshop_ray.schema import MESSAGES

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("messages", MESSAGES),
        ("sampling_params", pa.string()),
        ("error", pa.string()),
    ]
)
GOOD = {"id": "a", "messages": [{"role": "user", "content": "secret"}], "sampling_params": '{"max_tokens": 4}'}


def read(write_prompt=str, **values):
    (row,) = read_rows(pa.Table.from_pylist([{**GOOD, **values}], schema=SCHEMA), write_prompt)
    return row


def refuse(messages):
    raise ValueError(f"cannot read {messages}")


def test_rows_say_whose_weights_answer_them_where_a_model_has_several():
    rows = [{**GOOD, "task": "ner", "group": "brands"}, {**GOOD, "task": "ner", "error": "prompt: x"}, GOOD]
    block = pa.Table.from_pylist(rows, schema=SCHEMA.append(pa.field("group", pa.string())))
    named = PromptForm(str, lambda task, group: f"{task}/{group}").read_rows(block)
    assert [row.request and row.request.weights for row in named] == ["ner/brands", None, "None/None"]
    (*_, row) = PromptForm(str, lambda task, group: f"{task}/{group}").read_rows(block.drop(["group"]))
    assert row.request.weights == "None/None"
    assert {row.request.weights for row in PromptForm(str).read_rows(block) if row.request} == {""}


def test_row_that_cannot_be_tokenized_quotes_nothing():
    row = read(refuse)
    assert (row.request, row.outcome.error) == (None, "tokenize: ValueError")


def test_failed_row_and_row_without_messages_are_not_asked():
    for row in (read(error="prompt: x"), read(messages=None)):
        assert (row.request, row.outcome) == (None, None)


@given(st.one_of(st.none(), st.text(), st.sampled_from(["[]", "{}", '{"max_tokens": 0}', '{"max_tokens": "9"}'])))
def test_whatever_the_parameters_a_row_is_asked_or_says_why(params):
    row = read(sampling_params=params)
    assert (row.request is None) != (row.outcome is None)
    if row.outcome:
        assert row.outcome.reason == "prompt"


def test_tokens_of_all_tries_add_up_and_the_last_outcome_counts():
    row = BlockRow(0, Request("x", {}))
    row.add(Answer("first", "length", 3, 4))
    row.add(Failure("engine", "gone"))
    table = add_answers(pa.Table.from_pylist([GOOD], schema=SCHEMA), [row]).to_pylist()[0]
    assert (table["num_attempts"], table["num_input_tokens"], table["num_generated_tokens"]) == (2, 3, 4)
    assert (table["generated_text"], table["finish_reason"], table["error"]) == (None, None, "engine: gone")


def test_columns_of_an_earlier_run_are_replaced_and_half_a_pair_survives():
    block = pa.Table.from_pylist([GOOD, GOOD], schema=SCHEMA)
    rows = [BlockRow(0, None), BlockRow(1, None)]
    once = add_answers(block, rows)
    rows[1].add(Answer("half \ud83d of a pair \N{PILE OF POO}", "stop", 1, 1))
    twice = add_answers(once, rows)
    assert twice.schema.names == [*SCHEMA.names, *(field.name for field in ANSWER_FIELDS if field.name != "error")]
    assert twice["generated_text"].to_pylist() == [None, "half ? of a pair \N{PILE OF POO}"]
