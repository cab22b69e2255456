import pyarrow as pa
import pytest

from eshop_ray.data.prompts import build_prompt
from eshop_ray.data.tokenization import TOKEN_SCHEMA, add_tokens, tokenize_answer, tokenize_prompt
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PROMPT_SCHEMA, encode

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]


@pytest.fixture
def tokenizer(tiny_model_dir):
    return load_tokenizer(tiny_model_dir)


def prompt_row(row_id, target="Red.", fields="Colour?"):
    record = {"id": row_id, "task": "generation", "group": None, "metric": None, "target": encode(target)}
    return {"error": None, **build_prompt({**record, "fields": encode({"prompt": fields})}, 0.0, constrained=True)}


def test_prompt_ends_with_the_header_of_the_answer(tokenizer):
    text = tokenizer.decode(tokenize_prompt(tokenizer, MESSAGES))
    assert text.endswith("Which colour? ½ ü<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("answer", ["red", " red, blue ", "", "ünï½", "line\nline"])
def test_answer_ends_with_its_end_token(tokenizer, answer):
    ids = tokenize_answer(tokenizer, MESSAGES, answer)
    assert tokenizer.decode(ids) == f"{answer}<|im_end|>"
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1


def test_template_without_an_end_token_gets_one(tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer, "chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    monkeypatch.setattr(
        tokenizer, "chat_template", tokenizer.chat_template + "{% if add_generation_prompt %}{% endif %}"
    )
    assert tokenizer.decode(tokenize_answer(tokenizer, MESSAGES, "red")) == "assistant: red\n<|im_end|>"


def test_template_that_rewrites_earlier_turns_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages | length }} turns{{ messages[-1].content }}")
    with pytest.raises(ValueError, match="does not extend the prompt"):
        tokenize_answer(tokenizer, MESSAGES, "red")


@pytest.mark.ray
def test_rows_that_fail_keep_their_place(ray_session, tiny_model_dir):
    failed = {**prompt_row("failed"), "messages": None, "error": "prompt: no"}
    rows = [prompt_row("good"), prompt_row("no text", target=7), failed]
    prompts = ray_session.data.from_arrow(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA))
    tokens = {row["id"]: row for row in add_tokens(prompts, tiny_model_dir).take_all()}
    assert all(set(row) == set(TOKEN_SCHEMA.names) for row in tokens.values())
    assert tokens["good"]["error"] is None
    assert len(tokens["good"]["answer_ids"]) > 1
    assert tokens["no text"]["error"].startswith("tokenize: TypeError")
    assert tokens["failed"]["error"] == "prompt: no"
    assert tokens["failed"]["prompt_ids"] is None
