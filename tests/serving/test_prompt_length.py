"""Tokens of prompts as vLLM's server would count them, or none at all."""

import asyncio
import time

import pytest

from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.serving.calls import ApiCall, PromptCall
from eshop_ray.serving.prompt_length import count_prompt_tokens
from eshop_ray.serving.prompt_thread import PromptThread
from tests.conftest import train_tokenizer

USER = {"role": "user", "content": "red wool scarf"}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def chat(**body):
    return ApiCall("/v1/chat/completions", {"messages": [USER], **body})


def text(prompt):
    return ApiCall("/v1/completions", {"prompt": prompt})


def test_chats_texts_and_questions_of_tasks(tokenizer):
    written = "<|im_start|>user\nred wool scarf<|im_end|>\n<|im_start|>assistant\n"
    length = len(tokenizer(written)["input_ids"])
    assert count_prompt_tokens(tokenizer, chat()) == length
    assert count_prompt_tokens(tokenizer, PromptCall([USER], {})) == length
    assert count_prompt_tokens(tokenizer, text(written)) == length
    assert count_prompt_tokens(tokenizer, text([written, written])) == 2 * length
    assert count_prompt_tokens(tokenizer, text([1, 2, 3])) == 3
    assert count_prompt_tokens(tokenizer, text([[1, 2], [3]])) == 3


@pytest.mark.parametrize(
    "call",
    [
        chat(tools=[{"type": "function"}]),
        chat(chat_template_kwargs={"enable_thinking": True}),
        chat(messages=[{**USER, "name": "Ann"}]),
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
        chat(messages="a"),
        text(None),
        text("wool " * 100_000),
        text([["a"]]),
        text(["a", 1]),
        ApiCall("/v1/completions", {"prompt": "a", "prompt_embeds": "b"}),
    ],
)
def test_what_a_server_may_write_in_another_way_is_not_guessed(tokenizer, call):
    assert count_prompt_tokens(tokenizer, call) is None


def test_a_long_prompt_makes_nothing_else_wait(tokenizer):
    num_at_a_time, most_at_a_time = 0, 0

    def load():
        nonlocal num_at_a_time, most_at_a_time
        num_at_a_time += 1
        most_at_a_time = max(most_at_a_time, num_at_a_time)
        time.sleep(0.05)
        num_at_a_time -= 1
        return tokenizer

    async def run():
        prompts = PromptThread(load)
        work = asyncio.gather(prompts.write_ids([USER]), prompts.count_tokens(text([1, 2])))
        num_turns = 0
        while not work.done():
            await asyncio.sleep(0.001)
            num_turns += 1
        return *await work, num_turns

    ids, num_tokens, num_turns = asyncio.run(run())
    assert (ids, num_tokens) == (tokenize_prompt(tokenizer, [USER]), 2)
    assert most_at_a_time == 1
    assert num_turns > 10
