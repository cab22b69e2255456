"""Questions of a config: a task in the shop's own words, what they change, and what cannot be asked."""

import pickle
from dataclasses import replace

import pytest

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.enrichment.questions import PromptContext, build_question, identify_question
from eshop_ray.enrichment.templates import build_templates, describe_prompts
from eshop_ray.errors import UserError

ATTRIBUTES = {"Clothing > Scarves": {"color": ["red", "blue"], "material": None}, "*": {"material": None}}


def config_of(tasks, **questions):
    enrich = {"tasks": tasks, "questions": questions}
    return Config.model_validate({"name": "n", "catalog": {"labels": ["A", "B"]}, "enrich": enrich})


def build(tasks, **questions):
    return build_templates(config_of(tasks, **questions))


def identify(template):
    return identify_question(template, PromptContext({}, "answers", 100))


def ask(template, **product):
    fields = {"name": "red scarf", "description": "warm", "problems": {}, **product}
    return build_question(template, fields, [], PromptContext({}, "answers", 100), len)


def test_tasks_as_they_come_have_the_identity_that_they_always_had():
    templates = build(["ner_tagging", "classification", "summarization"])
    assert {name: identify(template) for name, template in templates.items()} == {
        "ner_tagging": fingerprint([["ner_tagging", 1, 256], 1, "answers", ["name"], None, None]),
        "classification": fingerprint(
            [["classification", 1, 32], 1, "answers", ["name", "description"], ["A", "B"], None]
        ),
        "summarization": fingerprint([["summarization", 1, 128], 1, "answers", ["name"], None, 100]),
    }


def test_question_has_its_own_words_labels_and_columns():
    german = {
        "task": "classification",
        "instruction": "Nenne die  Farbe.",
        "language": "German",
        "labels": ["rot", "blau"],
        "fields": ["name", "brand"],
        "max_tokens": 5,
    }
    template = build(["farbe"], farbe=german)["farbe"]
    assert (template.task.instruction, template.task.max_tokens) == ("Nenne die Farbe. Answer in German.", 5)
    assert ask(template, brand="Nordvik").fields == {"labels": ["rot", "blau"], "text": "red scarf\nNordvik"}
    (prompt,) = template.prompts.values()
    assert prompt.messages[1]["content"] == "Labels: rot, blau\nText: {name}\n{brand}"


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "Which one?"},
        {"labels": ["A", "C"]},
        {"fields": ["description", "name"]},
        {"language": "German"},
    ],
)
def test_what_a_question_changes_is_another_question_with_another_prompt(change):
    before = build(["classification", "other"], other={"task": "classification"})
    after = build(["classification", "other"], other={"task": "classification", **change})
    assert identify(before["other"]) == identify(before["classification"]) == identify(after["classification"])
    assert identify(after["other"]) != identify(before["other"])
    assert describe_prompts(before).keys() < describe_prompts(after).keys()


def test_more_room_for_the_answer_is_another_question():
    assert identify(build(["ner_tagging"], ner_tagging={"max_tokens": 9})["ner_tagging"]) != identify(
        build(["ner_tagging"])["ner_tagging"]
    )


def test_summary_is_asked_in_a_language_under_the_columns_that_stand_for_its_title():
    template = build(["kurz"], kurz={"task": "summarization", "language": "German", "fields": ["brand", "name"]})[
        "kurz"
    ]
    assert template.task.instruction.endswith("in a few sentences. Answer in German.")
    assert template.form.columns == ("brand", "name")
    assert ask(template, problems={"brand": "too_long"}).status == "empty"


def test_attributes_are_those_of_the_products_category():
    template = build(["facts"], facts={"task": "attributes", "attributes": ATTRIBUTES})["facts"]
    scarf, other = ask(template, category="Clothing > Scarves"), ask(template, category="Toys")
    assert scarf.fields == {"attributes": {"color": ("red", "blue"), "material": None}, "text": "red scarf\nwarm"}
    assert other.fields["attributes"] == {"material": None}
    assert scarf.prompt_id != other.prompt_id == ask(template, category=None).prompt_id
    assert template.task.output(scarf.fields)["json"]["properties"] == {
        "color": {"enum": ["red", "blue", None]},
        "material": {"type": ["string", "null"]},
    }


def test_products_of_a_category_without_attributes_are_not_asked():
    template = build(["facts"], facts={"task": "attributes", "attributes": {"Toys": {"age": None}}})["facts"]
    question = ask(template, category="Garden")
    assert (question.status, question.prompt_id) == ("empty", None)


def test_record_has_each_prompt_in_words():
    templates = build(["facts", "classification"], facts={"task": "attributes", "attributes": ATTRIBUTES})
    described = describe_prompts(templates)
    assert sorted(one["question"] for one in described.values()) == ["classification", "facts", "facts"]
    scarf = described[templates["facts"].prompts["Clothing > Scarves"].prompt_id]
    assert (scarf["task"], scarf["task_version"], scarf["columns"]) == ("attributes", 2, ["name", "description"])
    assert scarf["messages"][1]["content"] == (
        "Attributes:\n- color: red, blue\n- material: any\nText: {name}\n{description}"
    )
    assert len(fingerprint(described)) == 64


def test_templates_travel_to_workers():
    template = build(["classification"])["classification"]
    assert pickle.loads(pickle.dumps(template)) == template
    assert replace(template, name="x") != template


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ({}, r"unknown task `own`"),
        ({"own": {"task": "clasification"}}, r"unknown task `clasification`; did you mean `classification`\?"),
        (
            {"own": {"task": "ranking"}},
            r"`ranking` does not say .* choose from attributes, classification, ner_t",
        ),
        (
            {"own": {"task": "ner_tagging", "labels": ["A"]}},
            r"own.labels`: the task `ner_tagging` takes none; .*: cl",
        ),
        (
            {"own": {"task": "ner_tagging", "attributes": ATTRIBUTES}},
            r"own.attributes`: .* takes none; .*: attribut",
        ),
        ({"own": {"task": "attributes"}}, r"`enrich.questions.own.attributes`: `own` has to say which attributes"),
        ({"own": {"task": "classification", "fields": ["reviews"]}}, r"own.fields`: `reviews` is no column"),
        ({"own": {"task": "ner_tagging", "language": "de"}}, r"own.language`: 'de' is no language in words; write e.g"),
        ({"own": {"task": "classification", "labels": [""]}}, r"`enrich.questions.own.labels`: a label is empty"),
    ],
)
def test_question_that_cannot_be_asked_is_refused_by_its_key(questions, message):
    with pytest.raises(UserError, match=message):
        build(["own"], **questions)


def test_names_that_mislead_are_refused():
    with pytest.raises(UserError, match="`classification` is the name of another task; call the question otherwise"):
        build(["classification"], classification={"task": "ner_tagging"})
    with pytest.raises(UserError, match="`ner_tagging` stands there twice"):
        build(["ner_tagging", "ner_tagging"])


def test_task_that_needs_a_column_of_its_own_says_so(monkeypatch):
    task = replace(build(["ner_tagging"])["ner_tagging"].task, format_input=lambda record: record["brand"])
    monkeypatch.setattr("eshop_ray.enrichment.templates.get_task", lambda _: task)
    with pytest.raises(UserError, match=r"`enrich.questions.own.fields`: the task `ner_tagging` needs 'brand' too"):
        build(["own"], own={"fields": ["name"]})


@pytest.mark.parametrize(
    "bad", [{"A b": {}}, {"own": {"attributes": {"*": {}}}}, {"own": {"attributes": {"*": {"c": []}}}}]
)
def test_names_are_fit_for_a_folder_and_attributes_are_not_empty(bad):
    with pytest.raises(ValueError, match="validation error"):
        config_of(["own"], **bad)
