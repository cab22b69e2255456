"""What a model learns is what it is asked, whatever its chat template writes around an answer."""

import logging
import shutil

import pytest

from eshop_ray.data.chat_template import (
    arrange_turns,
    check_template,
    find_gap,
    list_closing_options,
    render_answer,
    render_prompt,
    save_tokenizer,
    warn_of_gap,
)
from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.tasks import get_task, list_tasks
from tests.chat_templates import GEMMA, GLM4, LLAMA3, MISTRAL, QWEN3, R1_DISTILL
from tests.conftest import CHAT_TEMPLATE

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]
TASKS = [get_task(name) for name in list_tasks()]
TEMPLATES = {
    "ChatML": CHAT_TEMPLATE,
    "Qwen3": QWEN3,
    "GLM": GLM4,
    "R1 distill": R1_DISTILL,
    "Llama 3": LLAMA3,
    "Gemma": GEMMA,
    "Mistral": MISTRAL,
}


@pytest.fixture
def make_model(tiny_model_dir, tmp_path):
    """Return a function that makes a model folder with a template, as far as no weights are needed."""

    def make(template):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_model_dir, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "chat_template.jinja").write_text(template)
        load_tokenizer.cache_clear()
        return folder

    return make


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("answer", ["red", "", "</b> ünï½"])
def test_prompt_and_answer_together_are_the_conversation(make_model, template, answer):
    tokenizer = load_tokenizer(make_model(template))
    turns = [*arrange_turns(tokenizer, MESSAGES), {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    prompt = render_prompt(tokenizer, MESSAGES)
    assert text == prompt + render_answer(tokenizer, MESSAGES, answer)
    assert all(message["content"] in prompt for message in MESSAGES)
    assert text[len(prompt) :].startswith(answer)
    prompt_ids, answer_ids = tokenize_prompt(tokenizer, MESSAGES), tokenize_answer(tokenizer, MESSAGES, answer)
    assert tokenizer.decode(prompt_ids) == prompt
    assert tokenizer.decode(answer_ids) == f"{answer}<|im_end|>"


@pytest.mark.parametrize(
    ("template", "own", "before_answer", "is_open"),
    [
        (CHAT_TEMPLATE, "", "", False),
        (QWEN3, "", "<think>\n\n</think>\n\n", True),
        (GLM4, "", "\n<think></think>\n", True),
        (R1_DISTILL, "<think>\n", "", True),
        (LLAMA3, "", "", False),
        (GEMMA, "", "", False),
        (MISTRAL, "", " ", False),
    ],
    ids=TEMPLATES,
)
def test_what_a_templates_own_prompt_lacks(make_model, template, own, before_answer, is_open):
    gap = find_gap(load_tokenizer(make_model(template)))
    assert (gap.own, gap.before_answer, gap.is_open) == (own, before_answer, is_open)


def test_prompt_takes_in_what_stands_before_an_answer(make_model):
    assert render_prompt(load_tokenizer(make_model(QWEN3)), MESSAGES).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render_prompt(load_tokenizer(make_model(R1_DISTILL)), MESSAGES).endswith("ü<|im_start|>assistant ")


def test_system_message_stays_where_only_the_end_of_the_prompt_differs(make_model):
    for template in (QWEN3, GLM4, R1_DISTILL):
        assert arrange_turns(load_tokenizer(make_model(template)), MESSAGES) == MESSAGES


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
    assert ("prompts are as conversations have it" in caplog.text) == (template in (QWEN3, GLM4, R1_DISTILL))


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
            "takes no conversation that ends with an answer .*a user asks last",
        ),
        (CHAT_TEMPLATE.replace("message.content", "message.content | upper"), "alters answers"),
        (
            "{{ '!' if messages[-1].content | length > 1 }}{% for m in messages %}{{ m.content }}\n{% endfor %}",
            "an example of `.*` shows: the chat template does not extend the prompt",
        ),
    ],
)
def test_template_that_cannot_be_trained_is_refused(make_model, template, reason):
    folder = make_model(template)
    with pytest.raises(UserError, match=rf"the chat template of {folder} .*{reason}"):
        check_template(folder, TASKS)


def test_saved_template_asks_by_itself_as_the_model_was_trained(make_model, tmp_path):
    tokenizer = load_tokenizer(make_model(QWEN3))
    folder = tmp_path / "merged"
    save_tokenizer(tokenizer, folder)
    shutil.copyfile(tmp_path / "model" / "config.json", folder / "config.json")
    saved = load_tokenizer(folder)
    own = saved.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert own == render_prompt(tokenizer, MESSAGES) == render_prompt(saved, MESSAGES)
    thinking = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True}
    assert "<think>" not in saved.apply_chat_template(MESSAGES, **thinking), "a request may say otherwise"


def test_saved_template_stays_where_an_option_would_ask_another_question(make_model, tmp_path):
    save_tokenizer(load_tokenizer(make_model(GLM4)), tmp_path / "merged")
    assert (tmp_path / "merged" / "chat_template.jinja").read_text() == GLM4


def test_server_that_asks_otherwise_is_told_of(make_model, caplog):
    warn_of_gap(make_model(QWEN3))
    assert "unless it was set before training: `model.template_options={enable_thinking: false}`" in caplog.text
    caplog.clear()
    warn_of_gap(make_model(R1_DISTILL))
    assert "end with '<think>\\n', which no conversation has before an answer" in caplog.text
    assert "model.template_options" not in caplog.text
    caplog.clear()
    for template in (CHAT_TEMPLATE, "{{ messages[0].content }}"):
        warn_of_gap(make_model(template))
    assert not caplog.text


def test_answer_goes_on_from_its_prompt_where_a_tokenizer_puts_blanks_before_texts():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<|im_end|>", *"▁\nreda", "re", "red", "▁red"]
    merges = [("r", "e"), ("re", "d"), ("▁", "red")]
    inner = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    inner.decoder = decoders.Metaspace()
    template = (
        "{% for m in messages %}a\n{{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", chat_template=template)
    assert tokenizer.tokenize("red") == ["▁red"]
    ids = tokenize_answer(tokenizer, [{"role": "user", "content": "red"}], "red")
    assert tokenizer.convert_ids_to_tokens(ids) == ["red", "<|im_end|>"]
