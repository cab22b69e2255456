"""How many tokens a request's prompts have, for budgets that are nearly spent: exact, or not told at all."""

from collections.abc import Sequence
from typing import Any

from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.serving.calls import ApiCall, Call, PromptCall

TEMPLATE_FIELDS = frozenset(
    {
        *("tools", "documents", "chat_template", "chat_template_kwargs", "reasoning_effort"),
        *("add_generation_prompt", "continue_final_message", "add_special_tokens", "mm_processor_kwargs"),
    }
)
"""Fields of a chat that change what the template writes."""
MAX_CHARACTERS = 100_000
"""Of a text that is counted: records of tasks wait for it."""
MESSAGE_FIELDS = {"role", "content"}


def count_prompt_tokens(tokenizer: Any, call: Call) -> int | None:
    """Return the tokens of a call's prompts together.

    None where vLLM's server writes the prompt by more than roles and texts: a guess too low would break a budget.

    Args:
        tokenizer: The model's.
        call: What is asked.
    """
    if isinstance(call, PromptCall):
        return len(tokenize_prompt(tokenizer, call.messages))
    if "messages" in call.body:
        return _count_chat(tokenizer, call)
    return None if call.body.get("prompt_embeds") is not None else _count_texts(tokenizer, call.body.get("prompt"))


def _count_chat(tokenizer: Any, call: ApiCall) -> int | None:
    messages = call.body["messages"]
    if TEMPLATE_FIELDS & set(call.body) or not isinstance(messages, list) or not all(map(_is_plain, messages)):
        return None
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return _count_text(tokenizer, text, add_special_tokens=False)


def _is_plain(message: Any) -> bool:
    is_object = isinstance(message, dict) and message.keys() == MESSAGE_FIELDS
    return is_object and all(isinstance(part, str) for part in message.values())


def _count_texts(tokenizer: Any, prompt: Any) -> int | None:
    prompts: Sequence[Any] = prompt if isinstance(prompt, list) and not _is_ids(prompt) else [prompt]
    counted = [len(one) if _is_ids(one) else _count_text(tokenizer, one) for one in prompts]
    return None if None in counted else sum(filter(None, counted))


def _is_ids(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and all(isinstance(one, int) for one in prompt)


def _count_text(tokenizer: Any, text: Any, **options: bool) -> int | None:
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return None
    return len(tokenizer(text, **options)["input_ids"])
