import pyarrow as pa
import pytest

from eshop_ray.data.chat_template import arrange_turns
from eshop_ray.data.prompts import build_prompt
from eshop_ray.data.tokenization import (
    TOKEN_SCHEMA,
    add_tokens,
    find_own_text,
    tokenize_answer,
    tokenize_prompt,
    tokenize_row,
)
from eshop_ray.models import load_tokenizer
from eshop_ray.schema import PROMPT_SCHEMA, encode
from tests.chat_templates import GEMMA, MISTRAL

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour? ½ ü"}]


@pytest.fixture
def tokenizer(tiny_model_dir):
    return load_tokenizer(tiny_model_dir)


def prompt_row(row_id, target="Red.", fields="Colour?"):
    record = {"id": row_id, "task": "generation", "group": None, "metric": None, "target": encode(target)}
    return {"error": None, **build_prompt({**record, "fields": encode({"prompt": fields})})}


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
    assert tokenizer.decode(tokenize_prompt(tokenizer, MESSAGES)).endswith("ü\nassistant: ")
    assert tokenizer.decode(tokenize_answer(tokenizer, MESSAGES, "red")) == "red\n<|im_end|>"


def test_template_that_changes_the_prompt_by_the_answer_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages[-1].content | length }} {{ messages[-1].content }}")
    with pytest.raises(ValueError, match="does not extend the prompt"):
        tokenize_answer(tokenizer, MESSAGES, "red")


SILENT = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize("template", [GEMMA, MISTRAL, SILENT])
def test_instruction_goes_to_the_user_where_a_template_takes_no_system_message(tokenizer, monkeypatch, template):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    ids = tokenize_prompt(tokenizer, MESSAGES)
    assert "Be brief.\n\nWhich colour?" in tokenizer.decode(ids)
    assert "red<|im_end|>" in tokenizer.decode(tokenize_answer(tokenizer, MESSAGES, "red"))
    own = find_own_text(tokenizer, MESSAGES, ids)
    assert "Which colour?" in tokenizer.decode(ids[own.start : own.end])
    assert "brief" not in tokenizer.decode(ids[own.start : own.end]), "the instruction is everybody's"


def test_template_that_takes_a_system_message_gets_it(tokenizer):
    assert arrange_turns(tokenizer, MESSAGES) == MESSAGES
    assert arrange_turns(tokenizer, MESSAGES[:1]) == MESSAGES[:1]


def test_rows_that_fail_keep_their_place(ray_session, tiny_model_dir):
    failed = {**prompt_row("failed"), "messages": None, "error": "prompt: no"}
    rows = [prompt_row("good"), prompt_row("no text", target=7), failed]
    prompts = ray_session.data.from_arrow(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA))
    tokens = {row["id"]: row for row in add_tokens(prompts, tiny_model_dir, 1024).take_all()}
    assert all(set(row) == set(TOKEN_SCHEMA.names) for row in tokens.values())
    assert tokens["good"]["error"] is None
    assert len(tokens["good"]["answer_ids"]) > 1
    assert tokens["no text"]["error"].startswith("tokenize: TypeError")
    assert tokens["failed"]["error"] == "prompt: no"
    assert tokens["failed"]["prompt_ids"] is None
    assert all(tokens[name]["num_cut"] is None for name in ("no text", "failed"))


def split_prompt(tokenizer, messages):
    """Return the text before a row's own, the own, and the text after it."""
    ids = tokenize_prompt(tokenizer, messages)
    own = find_own_text(tokenizer, messages, ids)
    return tuple(tokenizer.decode(part) for part in (ids[: own.start], ids[own.start : own.end], ids[own.end :]))


HEAD = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
TAIL = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "content", ["Which colour? ½ ü", "", "user", "\ue000 private \ue001", "  spaced  ", "\nline\n"]
)
def test_own_text_stands_between_the_headers(tokenizer, content):
    messages = [MESSAGES[0], {"role": "user", "content": content}]
    assert split_prompt(tokenizer, messages) == (HEAD, content, TAIL)


def test_own_text_is_found_in_a_template_that_alters_it(tokenizer, monkeypatch):
    changed = tokenizer.chat_template.replace("{{ message.content }}", "{{ message.content | trim | upper }}")
    monkeypatch.setattr(tokenizer, "chat_template", changed)
    messages = [MESSAGES[0], {"role": "user", "content": "  which colour? "}]
    assert split_prompt(tokenizer, messages)[1:] == ("WHICH COLOUR?", TAIL)


def test_own_text_is_found_without_offsets(tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    assert split_prompt(tokenizer, MESSAGES) == (HEAD, "Which colour? ½ ü", TAIL)


def test_the_latest_user_message_is_the_rows_own(tokenizer):
    messages = [*MESSAGES, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "Sure?"}]
    assert split_prompt(tokenizer, messages)[1] == "Sure?"


@pytest.mark.parametrize("num_over", range(9))
def test_a_long_row_loses_the_beginning_of_its_own_text(tokenizer, tiny_model_dir, num_over):
    row = prompt_row("long", fields="½ü€ red scarf of wool, size 12")
    whole = tokenize_row(row, tiny_model_dir, 1024)
    length = len(whole["prompt_ids"]) + len(whole["answer_ids"])
    cut = tokenize_row(row, tiny_model_dir, length - num_over)
    own = find_own_text(tokenizer, row["messages"], whole["prompt_ids"])
    assert cut["error"] is None
    assert cut["num_cut"] >= num_over
    assert bool(cut["num_cut"]) == bool(num_over)
    assert cut["answer_ids"] == whole["answer_ids"]
    num_cut = cut["num_cut"]
    assert cut["prompt_ids"] == whole["prompt_ids"][: own.start] + whole["prompt_ids"][own.start + num_cut :]
    assert "\ufffd" not in tokenizer.decode(cut["prompt_ids"])


def test_a_row_that_cannot_fit_says_so_in_numbers(tiny_model_dir):
    row = prompt_row("long", fields="secret " * 50)
    whole = tokenize_row(row, tiny_model_dir, 4096)
    length = len(whole["prompt_ids"]) + len(whole["answer_ids"])
    tokens = tokenize_row(row, tiny_model_dir, 20)
    assert tokens["error"].startswith(f"too_long: {length} tokens, ")
    assert tokens["error"].endswith("without its own text; max_row_length is 20")
    assert "secret" not in tokens["error"]
    assert "prompt_ids" not in tokens
