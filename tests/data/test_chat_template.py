"""What a model learns is what it is asked, whatever its chat template writes around an answer."""

import pytest

from eshop_ray.data.chat_template import arrange_turns, render_answer, render_prompt
from eshop_ray.data.tokenization import tokenize_answer, tokenize_prompt
from eshop_ray.models import load_tokenizer
from tests.chat_templates import GLM4, QWEN3, R1_DISTILL, TEMPLATES

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]


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


def test_prompt_takes_in_what_stands_before_an_answer(make_model):
    assert render_prompt(load_tokenizer(make_model(QWEN3)), MESSAGES).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render_prompt(load_tokenizer(make_model(R1_DISTILL)), MESSAGES).endswith("ü<|im_start|>assistant ")


def test_system_message_stays_where_only_the_end_of_the_prompt_differs(make_model):
    for template in (QWEN3, GLM4, R1_DISTILL):
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
