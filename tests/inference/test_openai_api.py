"""OpenAI's API without a server: old names, refusals, and what counts as reciting a request."""

import json

import pytest

from eshop_ray.inference.openai_api import quotes, rename_constraints, write_error

BODY = {
    "model": "shop-of-the-north",
    "messages": [
        {"role": "assistant", "content": "How many scarves of blue wool do you want?"},
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "mauve"}]},
    ],
    "structured_outputs": {"regex": "(red|blue) scarf"},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("cannot read 'scarves of blue wool'", True),
        ("role assistant must come after user", False),
        ("no colour mauve here", True),
        ("two messages", False),
        ("regex (red|blue) scarf is no regular expression", False),
        ("the model shop-of-the-north does not exist", False),
        ("", False),
    ],
)
def test_reason_that_recites_what_a_customer_says(message, expected):
    assert quotes(message, BODY) == expected


def test_reason_that_recites_a_prompt():
    assert quotes("bad token in `once upon a time`", {"prompt": ["x", "once upon a time there was"]})
    assert quotes("bad pair: garden hose reel", {"query": "q", "documents": ["green garden hose reel"]})
    assert not quotes("nothing of it", {"prompt": [1, 2, 3]})


def test_reason_that_recites_with_other_blanks():
    body = {"prompt": "Anna  Beil\nTel 01519\nAm Rain 4\nUlm"}
    for reason in (f"cannot read {body['prompt']!r}", "cannot read Anna Beil Tel 01519", "not 'Tel 01519\tAm Rain 4'"):
        assert quotes(reason, body), reason


def test_constraints_have_new_names():
    assert rename_constraints({"guided_choice": ["a"], "n": 1}) == {"structured_outputs": {"choice": ["a"]}, "n": 1}
    both = {"guided_json": {}, "structured_outputs": {"disable_any_whitespace": True}}
    assert rename_constraints(both) == {"structured_outputs": {"json": {}, "disable_any_whitespace": True}}
    untouched = {"structured_outputs": {"regex": "a"}, "guided_regex": None}
    assert rename_constraints(untouched) == untouched


def test_refusals_are_in_openais_form():
    refusal = write_error(404, "no such model", "model", "model_not_found")
    assert refusal.status == 404
    assert json.loads(refusal.body)["error"] == {
        "message": "no such model",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert json.loads(write_error(500, "oh").body)["error"]["type"] == "server_error"
