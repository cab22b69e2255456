"""Where a template's own prompt is not what stands before an answer: found and told before it costs anything."""

import logging
import shutil

import pytest

from eshop_ray.config import ModelSection
from eshop_ray.data.chat_template import arrange_turns, render, render_prompt
from eshop_ray.data.template_gap import (
    check_template,
    list_closing_options,
    save_tokenizer,
    warn_of_gap,
)
from eshop_ray.errors import UserError
from eshop_ray.models import fetch_model, load_tokenizer
from eshop_ray.models.template_text import write_options
from eshop_ray.tasks import get_task, list_tasks
from tests.chat_templates import GLM4, QWEN3, R1_DISTILL, TEMPLATES
from tests.conftest import CHAT_TEMPLATE

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]
THINKING = (QWEN3, GLM4, R1_DISTILL)
TASKS = [get_task(name) for name in list_tasks()]


@pytest.mark.parametrize(
    ("template", "options"),
    [
        (CHAT_TEMPLATE, []),
        (QWEN3, [{"enable_thinking": False}]),
        (QWEN3.replace("enable_thinking is false", "enable_thinking"), [{"enable_thinking": True}]),
        (GLM4, [{"enable_thinking": False}]),
        (R1_DISTILL, []),
        ("{{ messages | length }}", []),
    ],
)
def test_options_that_make_the_own_prompt_the_learnt_one(make_model, template, options):
    assert list_closing_options(load_tokenizer(make_model(template))) == options


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_templates_that_are_fine_are_let_through(make_model, template, caplog):
    with caplog.at_level(logging.INFO):
        check_template(make_model(template), TASKS)
    assert ("prompts are as conversations have it" in caplog.text) == (template in THINKING)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages | length }} turns{{ messages[-1].content }}", "leaves the question out"),
        (
            "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
            "writes it otherwise once an answer follows",
        ),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "leaves an answer out"),
        (
            "{% if messages[-1].role == 'assistant' %}{{ raise_exception('a user asks last') }}{% endif %}",
            "refuses a conversation that ends with an answer .*a user asks last",
        ),
        (CHAT_TEMPLATE.replace("message.content", "message.content | upper"), "alters answers"),
        (
            "{{ '!' if messages[-1].content | length > 1 }}{% for m in messages %}{{ m.content }}\n{% endfor %}",
            "an example of `.*` shows: the chat template does not extend the prompt",
        ),
        (
            "{{ '?' if messages[-1].role == 'assistant' and '\ue000' not in messages[0].content }}" + CHAT_TEMPLATE,
            "an example of `.*` shows: what it puts before an answer depends on what is asked",
        ),
    ],
)
def test_template_that_cannot_be_trained_is_refused(make_model, template, reason):
    folder = make_model(template)
    with pytest.raises(UserError, match=rf"the chat template of {folder} .*{reason}"):
        check_template(folder, TASKS)


NO_HEADER = "{% for m in messages %}{{ '=' if m.role == 'assistant' }}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("template", [*TEMPLATES.values(), NO_HEADER], ids=[*TEMPLATES, "no header"])
def test_saved_template_asks_by_itself_as_the_model_was_trained(make_model, tmp_path, template):
    tokenizer = load_tokenizer(make_model(f"{template}\n"))
    folder = tmp_path / "merged"
    save_tokenizer(tokenizer, folder)
    shutil.copyfile(tmp_path / "model" / "config.json", folder / "config.json")
    saved = load_tokenizer(folder)
    assert (saved.chat_template == tokenizer.chat_template) == (
        template not in THINKING and template in TEMPLATES.values()
    )
    assert render_prompt(saved, MESSAGES) == render_prompt(tokenizer, MESSAGES)
    turns = arrange_turns(saved, MESSAGES)
    assert render(saved, turns, add_generation_prompt=True) == render_prompt(tokenizer, MESSAGES)
    answered = [*turns, {"role": "assistant", "content": "red"}, *turns[-1:]]
    assert render(saved, answered) == render(tokenizer, answered)
    for is_on in (True, False):
        asked = render(saved, turns, add_generation_prompt=True, enable_thinking=is_on)
        assert asked.count("</think>") == (template in (QWEN3, GLM4)), "a request says it too, and changes nothing"


def test_server_that_asks_otherwise_is_told_of(make_model, caplog):
    warn_of_gap(make_model(QWEN3), {"max_model_len": 9})
    assert "chats may begin with a thought; for answers alone set `model.template_options={enable_th" in caplog.text
    caplog.clear()
    warn_of_gap(make_model(R1_DISTILL), ())
    assert "end with '<think>\\n', which no conversation has before an answer: chats may" in caplog.text
    assert "model.template_options" not in caplog.text
    caplog.clear()
    for template in (CHAT_TEMPLATE, "{{ messages[0].content }}"):
        warn_of_gap(make_model(template), ())
    warn_of_gap(make_model(QWEN3), {"reasoning_parser": "qwen3"})
    warn_of_gap(make_model(write_options(QWEN3, {"enable_thinking": True})), ())
    assert not caplog.text


def test_model_is_named_as_the_user_knows_it(make_model, tmp_path):
    source = make_model(f"{SILENT}{{{{ a }}}}")
    folder = fetch_model(ModelSection(source=str(source), cache_dir=str(tmp_path), template_options={"a": "b"}))
    assert folder != source
    asked = f"the chat template of {source} cannot be trained or asked: .*; mend it, or change `model.template_options`"
    with pytest.raises(UserError, match=asked):
        check_template(folder, TASKS)


SILENT = "{{ messages | length }}"
