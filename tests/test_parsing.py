"""ShopBench's parsers, corner by corner, and that no text makes one raise."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eshop_ray.parsing import (
    MAX_RESPONSE_CHARACTERS,
    THOUGHTS,
    drop_thought,
    parse_entities,
    parse_generation,
    parse_multiple_choice,
    parse_object,
    parse_ranking,
    parse_retrieval,
    parse_spans,
)

PARSERS = [
    parse_multiple_choice,
    parse_ranking,
    parse_retrieval,
    parse_generation,
    parse_entities,
    parse_spans,
    parse_object,
]

HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="[](){}'\",=| -~\\x0d1²½٣五\x00\n", max_size=200),
    st.builds(lambda piece, times: piece * times, st.text(min_size=1, max_size=3), st.integers(0, 6_000)),
)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=HOSTILE)
@example("[" * 5_000)
@example("[-" * 2_500)
@example("-" * 5_000 + "1")
@example("1+" * 2_500)
@example("1" * 5_000)
@example("['\x00']")
@example("['\\ud800', '\\N{none}']")
def test_never_raises(parse: Callable[[str], Any], text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse(text)


@pytest.mark.parametrize("parse", PARSERS)
def test_reads_five_thousand_characters(parse: Callable[[str], Any]) -> None:
    blank = " " * MAX_RESPONSE_CHARACTERS
    assert parse(blank + "1, a=b") == parse(blank)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("2", 2),
        (" \n\t3. because", 3),
        ("10", 1),
        ("٣", 3),
        ("", -1),
        (" \n", -1),
        ("a", -1),
        ("-1", -1),
        ("²", -1),
        ("½", -1),
        ("The answer is 2", -1),
    ],
)
def test_multiple_choice(text: str, choice: int) -> None:
    assert parse_multiple_choice(text) == choice


@pytest.mark.parametrize(
    ("text", "ranking"),
    [
        ("1,2,3,4,5", [1, 2, 3, 4, 5]),
        ("[3, 1, 2]", [3, 1, 2]),
        ("The order is: 2, 1", [2, 1]),
        (",1,,2,", [1, 2]),
        ("1, 2, x, 4", [1, 2, 4]),
        ("1, 6, 2", [1, 2]),
        ("0, 1", [0, 1]),
        ("-1, 2", [1, 2]),
        ("1.5, 2", [2]),
        ("6, 7, 8, 9, 10, 11, 1, 2", [1, 2]),
        ("1, 2, 2", []),
        ("1, 2, 3, 4, 5, 5", [1, 2, 3, 4, 5]),
        ("1 2", []),
        ("1\n2, 3", [3]),
        ("², ½, 五, 2", [2]),
        ("2²", []),
        ("٣, 1", [3, 1]),
        ("", []),
    ],
)
def test_ranking(text: str, ranking: list[int]) -> None:
    assert parse_ranking(text) == ranking


@pytest.mark.parametrize(
    ("text", "retrieved"),
    [
        ("100, 200, 300", [100, 200, 300]),
        ("[100,200]", [100, 200]),
        ("1,2,3,4", [1, 2, 3]),
        ("7, 7, 7, 8", [7, 7, 7]),
        ("1, x2y, z", [1, 2]),
        ("9,  \n\n 300", [9, 300]),
        ("-5, ½, ²", [5]),
        ("1" * 4_301 + ", 4", [4]),
        ("no idea", []),
    ],
)
def test_retrieval(text: str, retrieved: list[int]) -> None:
    assert parse_retrieval(text) == retrieved


def test_generation() -> None:
    assert parse_generation("\n A warm\n\nscarf. \n") == "A warm\n\nscarf."
    assert parse_generation(" \n") == ""


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("['New York', \"Amazon\"]", ["New York", "Amazon"]),
        ("['a, b', ' c ', '']", ["a, b", " c ", ""]),
        ("['a' 'b']", ["ab"]),
        ("[]", []),
        ("  ['a']", ["a"]),
        ("New York, Amazon", ["New York", "Amazon"]),
        ("\n, a,, b ,", ["a", "b"]),
        ("[New York, Amazon]", ["[New York", "Amazon]"]),
        ("['a', 1]", ["['a'", "1]"]),
        ("('a', 'b')", ["('a'", "'b')"]),
        ("{'a'}", ["{'a'}"]),
        ("'a'", ["'a'"]),
        ("12", ["12"]),
        ("['a\x00']", ["['a\x00']"]),
        ("['\\d+']", ["\\d+"]),
        ("['a'] and more", ["['a'] and more"]),
        (" ", []),
    ],
)
def test_entities(text: str, entities: list[str]) -> None:
    assert parse_entities(text) == entities


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("red=color | wool scarf=core_product_type", [["red", "color"], ["wool scarf", "core_product_type"]]),
        ("a=b=content", [["a=b", "content"]]),
        ("12|14=UoM", [["12|14", "UoM"]]),
        ("| =O", [["|", "O"]]),
        (" red = color \n", [["red", "color"]]),
        ("red=color | blue | =color | x= | tent=core_product_type", [["red", "color"], ["tent", "core_product_type"]]),
        ("red=color | ", [["red", "color"]]),
        ("red=color|tent=O", [["red=color|tent", "O"]]),
        ("", []),
    ],
)
def test_spans(text: str, spans: list[list[str]]) -> None:
    assert parse_spans(text) == spans


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"color": "red", "size": null}', {"color": "red", "size": None}),
        ('Sure:\n```json\n{"pieces": 4, "new": true}\n```', {"pieces": "4", "new": "true"}),
        ('{"sizes": ["S", "M"], "of": {"a": 1}}', {"sizes": None, "of": None}),
        ('{"color": "re', {}),
        ("red", {}),
        ('["red"]', {}),
        ("[" * 3000 + "{" + '"a":{' * 990, {}),
    ],
)
def test_first_object_is_read(text, found):
    assert parse_object(text) == found


@pytest.mark.parametrize(("start", "end"), THOUGHTS)
def test_reasoning_before_an_answer_is_no_part_of_it(start, end):
    assert drop_thought(f"{start}\n1 or 2?\n{end}\n\n 0 \n") == "0 \n"
    assert drop_thought(f"\n {start}{end}0") == "0"
    if not start[0].isalpha():  # words may be the answer's own
        assert drop_thought(f"1 or 2?\n{end}\n\n0") == "0", "its beginning stood in the prompt"
    assert drop_thought(f"{start} 1 or 2? </b>") is None, "cut off"
    assert drop_thought(f"0 {start}1{end}") == f"0 {start}1{end}", "what comes later is the answer's own"
    assert drop_thought(f"{start}a{end}b{end}c") == f"b{end}c"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", ""),
        (" 0\n", " 0\n"),
        ("I think 0", "I think 0"),
        ("<thin>0</thin>", "<thin>0</thin>"),
        ("<thinking>never </think> mind</thinking>0", "0"),
        ("<think>" + "why? " * 5_000 + "</think>0", "0"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|> 0 <|end_of_solution|> x", "0"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>0", "0"),
        ("<think>\na\n</think>\n<answer>\n0\n</answer>", "0"),
        ("a\n</think>\n\n<response>\n0\n</response>\n", "0"),
        ("<answer>0</answer>", "<answer>0</answer>"),
    ],
)
def test_what_is_left_of_an_answer(text, answer):
    assert drop_thought(text) == answer
