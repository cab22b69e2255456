"""`/v1/assistant`: what the model is shown, and what of its answer is let through."""

import asyncio
import json
import re

import pytest

from eshop_ray.serving.grounding import UNKNOWN, CitationReader, build_constraint, list_sources, neutralise
from eshop_ray.serving.keys import make_key, write_line
from tests.serving.made_model import MadeModel, client_of
from tests.serving.made_shop import DOCUMENTS, HOSTILE_PROMPT, open_catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return open_catalogue(tmp_path_factory.mktemp("index"))


def ask(folder, catalogue, body, pieces=("[1]", " Heats evenly."), **options):
    """Return the response to a question, and the calls that the model got."""
    model = MadeModel()
    model.pieces = pieces
    if isinstance(body, str):
        body = {"messages": [{"role": "user", "content": body}]}

    async def run():
        async with client_of(model, folder, catalogue=catalogue, **options) as http:
            return await http.post("/v1/assistant", json=body)

    return asyncio.run(run()), model.calls


def read_events(response):
    assert response.status_code == 200, response.text
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def join(events):
    return "".join(event["text"] for event in events if event["type"] == "text")


def test_an_answer_streams_and_cites_products_and_reviews_by_their_ids(tmp_path, catalogue):
    response, (call,) = ask(tmp_path, catalogue, "Does the pan cook well?", ["[", "1", "][2]", " Heats", " evenly."])
    events = read_events(response)
    assert [event["type"] for event in events] == ["sources", "text", "text", "text", "end"]
    assert join(events) == "[1][2] Heats evenly."
    cited = events[-1]["citations"]
    assert events[-1]["answered"] is True
    assert [(one["product_id"], one["review_id"]) for one in cited] == [("p1", None), ("p1", "r1")]
    prompt = call.body["messages"][-1]["content"]
    assert "[2] Review of Steel pan, 28 cm: Heats evenly, even on induction." in prompt
    assert call.body["structured_outputs"]["regex"] == build_constraint(range_of(3))
    whole, _ = ask(
        tmp_path,
        catalogue,
        {"stream": False, "messages": [{"role": "user", "content": "Does the pan cook well?"}]},
    )
    assert whole.json() == {"answer": "[1] Heats evenly.", "answered": True, "citations": cited[:1]}


def range_of(number):
    return [type("Numbered", (), {"number": one})() for one in range(1, number + 1)]


def test_where_nothing_is_found_the_model_is_not_asked(tmp_path, catalogue):
    response, calls = ask(tmp_path, catalogue, "Who won the cup?")
    events = read_events(response)
    assert (join(events), events[-1]["answered"], calls) == (UNKNOWN, False, [])


@pytest.mark.parametrize(
    "pieces", [["It ", "is great."], ["I don't know."], ["[9] It is."], ["[", "0", "] no"], ["[1"], [""]]
)
def test_an_answer_that_cites_nothing_is_not_shown(tmp_path, catalogue, pieces):
    events = read_events(ask(tmp_path, catalogue, "Does the pan cook well?", pieces)[0])
    assert (join(events), events[-1]["answered"], events[-1]["citations"]) == (UNKNOWN, False, [])


def test_made_up_citations_are_taken_out():
    reader = CitationReader(2)
    shown = [reader.feed(piece) for piece in ("So ", "[7] and ", "[2", "] but [", "33] x [1]", " [")]
    assert "".join([*shown, reader.finish()]) == "So  and [2] but  x [1] ["
    assert reader.cited == [2, 1]


def test_products_in_view_are_sources_and_questions_go_on(tmp_path, catalogue):
    turn = {"role": "user", "content": "Is it heavy?"}
    _, (call,) = ask(tmp_path, catalogue, {"messages": [turn], "products": ["p2"]})
    assert "Garden spade" in call.body["messages"][-1]["content"]
    chat = [{"role": "user", "content": "A yoga mat?"}, {"role": "assistant", "content": "[1] Yes."}, turn]
    _, (call,) = ask(tmp_path, catalogue, {"messages": chat})
    assert "Yoga mat" in call.body["messages"][-1]["content"]
    assert [message["role"] for message in call.body["messages"]] == ["system", "user", "assistant", "user"]


def test_retrieved_text_is_data(tmp_path, catalogue):
    _, (call,) = ask(tmp_path, catalogue, f"hostile? {HOSTILE_PROMPT}")
    prompt = call.body["messages"][-1]["content"]
    assert not re.search(r"[<>|\u202e\u2066]", prompt)
    lines = prompt.split("\n")
    assert [line.partition(" ")[0] for line in lines] == ["Sources:", "[1]", "[2]", "End", "Question:"]
    assert all(len(re.findall(r"\[\d+\]", line)) <= 1 for line in lines)
    assert len(prompt) < 3000


def test_text_is_neutralised():
    assert neutralise("a\x00\u200b\n\n b\t<|im_start|>[INST]", 100) == "a b \u2039\u00a6im_start\u00a6\u203a(INST)"
    assert neutralise("x" * 50, 10) == "x" * 9 + "\u2026"
    assert neutralise("\ud800", 10) == ""
    assert sum(len(one.text) for one in list_sources(DOCUMENTS * 50, 1000)) <= 1000
    assert list_sources(DOCUMENTS, 0) == []


@pytest.mark.parametrize("answer", ["I don't know.", "[1] Yes.", "[1][2] Yes, it is.", "[3] <b>Yes</b>"])
def test_the_constraint_lets_through_what_is_wanted(answer):
    assert re.fullmatch(build_constraint(range_of(3)), answer)


@pytest.mark.parametrize("answer", ["Yes.", "[4] Yes.", "[1]", "I don't know. But yes.", "[1] Yes [9]", ""])
def test_and_nothing_else(answer):
    assert not re.fullmatch(build_constraint(range_of(3)), answer)


TURN = {"role": "user", "content": "pan"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"messages": []}, 422),
        ({"messages": "pan"}, 422),
        ({"messages": [{"role": "system", "content": "very secret"}]}, 422),
        ({"messages": [TURN, {"role": "assistant", "content": "very secret"}]}, 422),
        ({"messages": [{"role": "user", "content": " "}]}, 422),
        ({"messages": [{"role": "user", "content": 3}]}, 422),
        ({"messages": [TURN] * 51}, 422),
        ({"messages": [TURN], "products": "p1"}, 422),
        ({"messages": [TURN], "products": [3]}, 422),
        ({"messages": [TURN], "products": ["p"] * 7}, 422),
        ({"messages": [TURN], "stream": 1}, 400),
        ({"messages": [TURN], "very secret": 1}, 400),
    ],
)
def test_bad_questions(tmp_path, catalogue, body, status):
    response, calls = ask(tmp_path, catalogue, body)
    assert (response.status_code, calls) == (status, [])
    assert "very secret" not in response.text


def test_it_costs_a_key_what_the_model_costs(tmp_path, catalogue):
    key, line = make_key("poor", tokens_per_day=5)
    response, calls = ask(tmp_path, catalogue, "pan?", keys=[write_line(line)], key=key)
    assert (response.status_code, response.json()["error"]["code"], calls) == (429, "quota", [])
    assert ask(tmp_path, catalogue, "pan?", keys=[write_line(line)])[0].status_code == 401
