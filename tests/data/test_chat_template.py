"""What a model learns is what it is asked, whatever its chat template writes around an answer."""

import pytest

from eshop_ray.data.chat_template import arrange_turns, find_gap, render_answer, render_prompt
from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.models import load_tokenizer
from tests.chat_templates import GEMMA, GLM4, LLAMA3, MISTRAL, QWEN3, R1_DISTILL, TEMPLATES
from tests.conftest import CHAT_TEMPLATE

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]
THINKING = (QWEN3, GLM4, R1_DISTILL)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("answer", ["red", "", "</b> ünï½"])
def test_prompt_and_answer_together_are_the_conversation(make_model, template, answer):
    tokenizer = load_tokenizer(make_model(template))
    turns = [*arrange_turns(tokenizer, MESSAGES), {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    prompt = render_prompt(tokenizer, MESSAGES)
    rest = render_answer(tokenizer, MESSAGES, answer)
    assert text == prompt + (" " if template == MISTRAL else "") + rest
    assert all(message["content"] in prompt for message in MESSAGES)
    assert rest.startswith(answer)
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


@pytest.mark.parametrize("template", [one for one in TEMPLATES.values() if one not in THINKING])
def test_own_prompt_is_taken_where_only_white_space_is_between(make_model, template):
    tokenizer = load_tokenizer(make_model(template))
    turns = arrange_turns(tokenizer, MESSAGES)
    assert render_prompt(tokenizer, MESSAGES) == tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )


def test_prompt_takes_in_what_stands_before_an_answer(make_model):
    assert render_prompt(load_tokenizer(make_model(QWEN3)), MESSAGES).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render_prompt(load_tokenizer(make_model(R1_DISTILL)), MESSAGES).endswith("ü<|im_start|>assistant ")


def test_system_message_stays_where_only_the_end_of_the_prompt_differs(make_model):
    for template in THINKING:
        assert arrange_turns(load_tokenizer(make_model(template)), MESSAGES) == MESSAGES


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
